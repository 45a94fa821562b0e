// The schemas of every op in namespace `mmext`, and the module whose import registers them.
//
// A kernel file adds its implementation with TORCH_LIBRARY_IMPL; fake kernels and autograd formulas
// are registered in Python, beside the op's wrapper (mmext/ops/<op>.py), but for the gradient of
// gaussian_distance.

#include <Python.h>
#include <torch/library.h>

TORCH_LIBRARY(mmext, m) {
  m.def("biased_attention(Tensor q, Tensor k, Tensor v, Tensor bias, int num_heads) -> Tensor");
  m.def(
      "_biased_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor bias, "
      "int num_heads) -> (Tensor grad_q, Tensor grad_k, Tensor grad_v, Tensor grad_bias)");
  m.def(
      "_count_class_pairs(Tensor pred, Tensor target, int num_classes, int ignore_index) "
      "-> Tensor");
  m.def("corner_pool(Tensor x, str mode) -> Tensor");
  m.def("_corner_pool_backward(Tensor grad, Tensor x, str mode) -> Tensor");
  m.def(
      "deform_conv2d(Tensor x, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
      "SymInt[2] stride, SymInt[2] padding, SymInt[2] dilation, SymInt groups, "
      "SymInt deform_groups) -> Tensor");
  m.def(
      "_deform_conv2d_backward(Tensor grad, Tensor x, Tensor offset, Tensor weight, Tensor? mask, "
      "SymInt[2] stride, SymInt[2] padding, SymInt[2] dilation, SymInt groups, "
      "SymInt deform_groups, bool[4] output_mask) "
      "-> (Tensor grad_x, Tensor grad_offset, Tensor grad_weight, Tensor grad_mask)");
  m.def(
      "gaussian_distance(Tensor pred, Tensor target, Tensor? weight, str kind, float alpha, "
      "bool normalize, float scale, bool sqrt, str fun, float tau) -> Tensor");
  m.def(
      "_gaussian_distance_backward(Tensor grad, Tensor pred, Tensor target, Tensor? weight, "
      "str kind, float alpha, bool normalize, float scale, bool sqrt, str fun, float tau, "
      "bool[2] output_mask) -> (Tensor grad_pred, Tensor grad_target)");
  m.def(
      "_gaussian_distance_with_gradients(Tensor pred, Tensor target, Tensor? weight, str kind, "
      "float alpha, bool normalize, float scale, bool sqrt, str fun, float tau, "
      "bool[2] output_mask) -> (Tensor loss, Tensor grad_pred, Tensor grad_target)");
  m.def("_scale_gradient(Tensor grad, Tensor rows, Tensor? weight) -> Tensor");
  m.def("_box_extremes(Tensor pred, Tensor target, Tensor? weight) -> Tensor");
  m.def("gelu_dwconv_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor");
  m.def(
      "_gelu_dwconv_gelu_backward(Tensor grad, Tensor x, Tensor weight, Tensor bias) "
      "-> (Tensor grad_x, Tensor grad_weight, Tensor grad_bias)");
  m.def(
      "furthest_point_sample(Tensor points, SymInt num_points, SymInt start, bool skip_origin) "
      "-> Tensor");
  m.def(
      "ball_query(float min_radius, float max_radius, SymInt sample_num, Tensor xyz, "
      "Tensor center_xyz) -> Tensor");
  m.def("three_nn(Tensor target, Tensor source) -> (Tensor distance, Tensor index)");
  m.def("knn(SymInt k, Tensor xyz, Tensor center_xyz) -> Tensor");
  m.def("box3d_iou(Tensor boxes_a, Tensor boxes_b) -> Tensor");
  m.def(
      "_box3d_iou_backward(Tensor grad, Tensor boxes_a, Tensor boxes_b, bool[2] output_mask) "
      "-> (Tensor grad_a, Tensor grad_b)");
  m.def("_nms3d_kept(Tensor boxes, Tensor? labels, float iou_threshold) -> Tensor");
  m.def("points_in_boxes(Tensor points, Tensor boxes) -> Tensor");
  m.def("rotated_iou(Tensor pred, Tensor target, Tensor? mask) -> Tensor");
  m.def(
      "_rotated_iou_backward(Tensor grad, Tensor pred, Tensor target, Tensor? mask, "
      "bool[2] output_mask) -> (Tensor grad_pred, Tensor grad_target)");
}

// `import mmext._C` runs the static initialisers of all object files; the module itself is empty.
PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr};
  return PyModule_Create(&module);
}
