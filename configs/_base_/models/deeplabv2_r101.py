"""DeepLab-v2 (arXiv 1606.00915) with ResNet-101, as in the papers on adaptation, 19 classes.

Images are BGR minus a mean, and predictions come from enlarged probabilities, as in the official
evaluation. For weights that were trained with all four rates set
``decode_head.active_rates=(6, 12, 18, 24)``.
"""

data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[104.00698793, 116.66876762, 122.67891434],  # blue, green, red
    std=[1.0, 1.0, 1.0],
    bgr_to_rgb=False,
    size_divisor=1,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type="mmext.ProbabilityEncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=dict(type="mmext.DeepLabV2ResNet", depth=101),
    decode_head=dict(type="mmext.DeepLabV2Head", num_classes=19, active_rates=(6, 12)),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
