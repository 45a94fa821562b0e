// Changes of layout on a CPU.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "deform_conv/deform_conv_torch.h"

namespace mmext::deform_conv {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Transposes (rows, cols) matrices in tiles of one cache line, `unit` numbering the row tiles.
template <typename T>
void transpose_tiles(
    const T* source, T* target, int64_t rows, int64_t cols, int64_t begin, int64_t end) {
  constexpr int64_t tile = 64 / sizeof(T);
  const int64_t row_tiles = divide_up(rows, tile);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t matrix = unit / row_tiles * rows * cols, first_row = unit % row_tiles * tile;
    const int64_t last_row = std::min(first_row + tile, rows);
    for (int64_t first_col = 0; first_col < cols; first_col += tile) {
      const int64_t last_col = std::min(first_col + tile, cols);
      for (int64_t row = first_row; row < last_row; ++row) {
        for (int64_t col = first_col; col < last_col; ++col) {
          target[matrix + col * rows + row] = source[matrix + row * cols + col];
        }
      }
    }
  }
}

}  // namespace

at::Tensor swap_last_axes_cpu(const at::Tensor& tensor) {
  const int64_t batch = tensor.size(0), rows = tensor.size(1), cols = tensor.size(2);
  at::Tensor out = at::empty({batch, cols, rows}, tensor.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, tensor.scalar_type(), "deform_conv2d", [&] {
        const scalar_t* source = tensor.const_data_ptr<scalar_t>();
        scalar_t* target = out.mutable_data_ptr<scalar_t>();
        const int64_t units = batch * divide_up(rows, 64 / sizeof(scalar_t));
        const int64_t grain = divide_up(4096, std::max<int64_t>(cols, 1));
        at::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) {
          transpose_tiles(source, target, rows, cols, begin, end);
        });
      });
  return out;
}

}  // namespace mmext::deform_conv
