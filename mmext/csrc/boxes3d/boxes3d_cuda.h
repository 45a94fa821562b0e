// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include <cstdint>

struct CUstream_st;

namespace mmext::boxes3d {

// Two contiguous sets of boxes, (count, 7), of float or double.
struct Sets {
  const void* a;
  const void* b;
  int64_t count_a, count_b;
  bool is_double;
};

// Each function returns null or CUDA's description of the error. `iou` and `grad` are
// (count_a, count_b); a null gradient is not wanted.
const char* launch_iou(const Sets& sets, void* iou, CUstream_st* stream);
const char* launch_iou_backward(
    const Sets& sets, const void* grad, void* grad_a, void* grad_b, CUstream_st* stream);

// Boxes by falling score; `labels` may be null. `overlaps` is (count, words) room to work in, where
// a word has a bit for each of 64 boxes.
struct Candidates {
  const void* boxes;
  const int64_t* labels;
  int64_t count, words;
  bool is_double;
};

const char* launch_nms(
    const Candidates& candidates, double iou_threshold, uint64_t* overlaps, bool* kept,
    CUstream_st* stream);

// Contiguous points, (count, 3), and containers (boxes3d_torch.h) of the same dtype; `inside` is
// (count, containers_count).
struct PointsAndBoxes {
  const void* points;
  const void* containers;
  int64_t count, containers_count;
  bool is_double;
};

const char* launch_points_in_boxes(const PointsAndBoxes& input, bool* inside, CUstream_st* stream);

}  // namespace mmext::boxes3d
