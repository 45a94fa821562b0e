// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include <cstdint>

struct CUstream_st;

namespace mmext::points {

// Contiguous clouds, (batch, count, 3), of float or double.
struct Clouds {
  const void* points;
  int64_t batch, count;
  bool is_double;
};

// Where to look from and where, of one dtype and batch size.
struct Search {
  Clouds queries, points;
};

// Points that are not finite are neither chosen nor found. `distance` is (batch, count) room to work
// in, of the dtype of the clouds; `chosen` is (batch, wanted). Each function returns null or CUDA's
// description of the error.
const char* launch_sampling(
    const Clouds& clouds, int64_t wanted, int64_t start, bool skip_origin, void* distance,
    int64_t* chosen, CUstream_st* stream);

// `index` is (batch, queries, wanted).
const char* launch_ball_query(
    const Search& search, double min_radius, double max_radius, int64_t wanted, int64_t* index,
    CUstream_st* stream);

// `distance` and `index` are (batch, queries, k), nearest first.
const char* launch_nearest(
    const Search& search, int64_t k, void* distance, int64_t* index, CUstream_st* stream);

}  // namespace mmext::points
