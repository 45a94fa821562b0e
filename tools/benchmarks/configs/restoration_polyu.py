"""Real camera noise (PolyU, 100 crops of 512 x 512), merged over a model's config.

The data set does not come with mmext: it is read from ``$MMEXT_SHARED/data/polyu`` (``noisy``,
``clean``, lists in ``splits``; default ``../shared``). Scenes of the splits are disjoint.
"""

import os

data_root = os.environ.get("MMEXT_SHARED", "../shared") + "/data/polyu/"
names = dict(img="{}.jpg", gt="{}.jpg")
prefix = dict(img="noisy", gt="clean")
# As for photos, but in their own order of colours: a camera's noise differs between them.
train_pipeline = [
    dict(type="mmext.LoadImagePair"),
    dict(type="mmext.PairedRandomCrop", crop_size=64),
    dict(type="mmext.RandomDihedral"),
    dict(type="mmext.PackRestorationInputs"),
]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file="splits/train.txt",
        data_prefix=prefix,
        filename_tmpl=names,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file="splits/val.txt", data_prefix=prefix, filename_tmpl=names
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file="splits/test.txt", data_prefix=prefix, filename_tmpl=names
    )
)
