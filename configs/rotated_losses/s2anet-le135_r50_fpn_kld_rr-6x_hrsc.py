"""S2ANet, le135: KLD on HRSC2016, 72 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/s2anet-le135_r50_fpn_kld_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: mmrotate's for the same loss in R3Det.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./s2anet-le135_r50_fpn_kld_1x_dota.py"

model = dict(
    bbox_head_init=dict(num_classes=1),
    bbox_head_refine=[dict(_base_.model.bbox_head_refine[0], num_classes=1)],
)

train_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    dict(type="mmdet.Resize", scale=(800, 512), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="RandomRotate", prob=0.5, angle_range=180),
    dict(type="mmdet.PackDetInputs"),
]
val_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    dict(type="mmdet.Resize", scale=(800, 512), keep_ratio=True),
    # After the resizing, which the boxes then do not take part in.
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="HRSCDataset",
        data_root="data/hrsc/",
        ann_file="ImageSets/trainval.txt",
        data_prefix=dict(sub_data_root="FullDataSet/"),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="HRSCDataset",
        data_root="data/hrsc/",
        ann_file="ImageSets/test.txt",
        data_prefix=dict(sub_data_root="FullDataSet/"),
        test_mode=True,
        pipeline=val_pipeline,
    )
)
test_dataloader = val_dataloader

max_epochs = 72
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1.0 / 3, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[48, 66], gamma=0.1
    ),
]
