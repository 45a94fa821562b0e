// Counts pairs of classes in one pass over two label maps.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <array>
#include <mutex>
#include <vector>

namespace mmext::confusion_matrix {
namespace {

// Neighbouring pixels mostly have the same class: with one table each addition would wait for the
// one before.
constexpr int kTables = 4;
constexpr int64_t kGrain = 1 << 17;  // pixels that are worth a thread

// The table has a row each for ignored and for wrong targets below those of the classes, and a
// column for wrong predictions.
struct Counter {
  int64_t classes, ignored;

  int64_t columns() const { return classes + 1; }
  int64_t cells() const { return (classes + 2) * columns(); }

  template <typename T>
  int64_t cell(T pred, T target) const {
    // A negative number becomes one beyond any class.
    const auto found = static_cast<uint64_t>(static_cast<int64_t>(pred));
    const auto own = static_cast<int64_t>(target);
    const auto known = static_cast<uint64_t>(classes);
    int64_t row = static_cast<uint64_t>(own) < known ? own : classes + 1;
    row = own == ignored ? classes : row;
    return row * columns() + static_cast<int64_t>(found < known ? found : known);
  }
};

template <typename T>
void count(
    const T* pred, const T* target, int64_t pixels, const Counter& counter, int64_t* counts) {
  std::mutex mutex;
  at::parallel_for(0, pixels, kGrain, [&](int64_t begin, int64_t end) {
    std::array<std::vector<int64_t>, kTables> tables;
    tables.fill(std::vector<int64_t>(counter.cells(), 0));
    std::array<int64_t*, kTables> table;
    for (int i = 0; i < kTables; ++i) table[i] = tables[i].data();
    int64_t pixel = begin;
    for (; pixel + kTables <= end; pixel += kTables) {
      for (int i = 0; i < kTables; ++i) {
        ++table[i][counter.cell(pred[pixel + i], target[pixel + i])];
      }
    }
    for (; pixel < end; ++pixel) ++table[0][counter.cell(pred[pixel], target[pixel])];
    const std::lock_guard lock(mutex);
    for (const auto& part : tables) {
      for (int64_t cell = 0; cell < counter.cells(); ++cell) counts[cell] += part[cell];
    }
  });
}

at::Tensor count_class_pairs_cpu(
    const at::Tensor& pred, const at::Tensor& target, int64_t num_classes, int64_t ignore_index) {
  TORCH_CHECK_VALUE(
      pred.sizes() == target.sizes(), "pred is ", pred.sizes(), ", target ", target.sizes(),
      "; expected equal shapes");
  TORCH_CHECK_TYPE(
      pred.scalar_type() == target.scalar_type(), "pred has ", pred.scalar_type(), ", target ",
      target.scalar_type(), "; expected the same dtype");
  TORCH_CHECK_VALUE(num_classes > 0, "num_classes is ", num_classes, "; expected at least 1");
  const Counter counter{num_classes, ignore_index};
  const at::Tensor p = pred.contiguous(), t = target.contiguous();
  const at::Tensor counts =
      at::zeros({num_classes + 2, num_classes + 1}, pred.options().dtype(at::kLong));
  AT_DISPATCH_INTEGRAL_TYPES(pred.scalar_type(), "_count_class_pairs", [&] {
    count(
        p.const_data_ptr<scalar_t>(), t.const_data_ptr<scalar_t>(), p.numel(), counter,
        counts.mutable_data_ptr<int64_t>());
  });
  return counts;
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) { m.impl("_count_class_pairs", &count_class_pairs_cpu); }

}  // namespace
}  // namespace mmext::confusion_matrix
