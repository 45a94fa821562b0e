"""AdamW over 250 epochs, with the learning rate of Uformer's official code to the last digit.

Three epochs of warm-up to 2e-4, then a cosine to 1e-6, one step per epoch. The official scheduler
starts its cosine one step late without resetting the rate: epoch 5 has exactly 2e-4, epoch 4 is a
little above it. The MultiStepLR makes that step; what follows is the plain cosine.
"""

import math

max_epochs = 250
lr, lr_min = 2e-4, 1e-6
cosine_epochs = max_epochs - 3
lr_epoch_4 = lr_min + (lr - lr_min) * 2 / (1 + math.cos(math.pi / cosine_epochs))

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.02),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, begin=0, end=3),
    dict(type="MultiStepLR", milestones=[3], gamma=lr_epoch_4 / lr),
    dict(type="CosineAnnealingLR", begin=3, T_max=cosine_epochs, eta_min=lr_min),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
