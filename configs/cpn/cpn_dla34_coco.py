"""CPN with a DLA-34, 270,000 iterations of Adam.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_dla34_coco.py
Test: python tools/test.py CONFIG CHECKPOINT --tta, which adds the flipped image as the authors do.
Paper's figure: 41.7 AP on test-dev, with the flipped image.
Hardware: written for 8 GPUs with 6 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./cpn_hourglass52_coco.py"

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmext.DLA",
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth",
        ),
    ),
    neck=dict(type="mmext.DLAUp", in_channels=[64, 128, 256, 512], norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=64,
        pool_channels=64,
        roi_form="dla",
        roi_layer=dict(sampling_ratio=1),
    ),
)

# A canvas that DLA can halve five times, always some pixels larger than the image.
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(pad_bits=31, pad_extra=1)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0][0].update(pad_bits=31, pad_extra=1)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
