"""FCN-8s (arXiv 1411.4038) with VGG-16, as in the papers on adaptation, 19 classes.

Images are BGR minus a mean, and predictions come from enlarged probabilities, as in the official
evaluation. The whole network stands in the backbone's place; see ``FCN8sVGG16``.
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
    backbone=dict(type="mmext.FCN8sVGG16", num_classes=19),
    decode_head=dict(type="mmext.LogitsHead", num_classes=19),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
