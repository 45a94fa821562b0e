"""GTA5 with labels, and Cityscapes, IDD and Mapillary Vistas without, for adapting to several.

Resized to 1024 x 512 pixels and cut to 512 x 256 at random, 19 classes: the setting that later work
compares itself with this method in. Figures are those of the labels' own sizes. Configs of fewer
targets choose among them.

Expected below ``data/``: ``gta5/images``, ``gta5/labels``; ``cityscapes/leftImg8bit``,
``idd/leftImg8bit`` and ``mapillary/{training,validation}/images``; for validation their labels.
"""

resize = dict(type="Resize", keep_ratio=False, scale=(1024, 512))
crop = dict(type="RandomCrop", crop_size=(256, 512))
source_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    resize,
    crop,
    dict(type="PackSegInputs"),
]
target_pipeline = [dict(type="LoadImageFromFile"), resize, crop, dict(type="PackSegInputs")]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    resize,
    # Behind the resize: figures are those of the full size.
    dict(type="mmext.LoadLabelIds"),
    dict(type="PackSegInputs"),
]

unlabelled = dict(pipeline=target_pipeline)
cityscapes = dict(type="mmext.CityscapesDataset", data_root="data/cityscapes", **unlabelled)
idd = dict(type="mmext.IDDDataset", data_root="data/idd", **unlabelled)
mapillary = dict(type="mmext.MapillaryDataset", data_root="data/mapillary", **unlabelled)

fine = dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")
vistas = dict(img_path="validation/images", seg_map_path="validation/labels")
tested = dict(
    cityscapes=dict(cityscapes, data_prefix=fine, pipeline=test_pipeline),
    idd=dict(idd, data_prefix=fine, pipeline=test_pipeline),
    mapillary=dict(mapillary, data_prefix=vistas, pipeline=test_pipeline),
)

train_dataloader = dict(
    batch_size=4,  # of each domain
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="mmext.MultiDomainSampler"),
    dataset=dict(
        type="mmext.MultiDomainDataset",
        sources=dict(
            gta5=dict(type="mmext.GTA5Dataset", data_root="data/gta5", pipeline=source_pipeline)
        ),
        targets=dict(cityscapes=cityscapes, idd=idd, mapillary=mapillary),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="mmext.DomainConcatDataset", datasets=tested),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.UDAIoUMetric")
test_evaluator = val_evaluator
