"""The part of torchvision that scripts with MNIST use: ``from fastnn import torchvision``.

Arrays and SciPy replace PIL; if PIL is installed, images are PIL's.
"""

import sys

from fastnn import __version__
from fastnn._core.absent import absent_modules
from fastnn.torchvision import datasets, transforms, utils

__all__ = ["__version__", "datasets", "transforms", "utils"]

# Libraries import these, and call them for images only.
_NAMES = {
    "io": "ImageReadMode decode_image decode_jpeg decode_png read_image read_video write_jpeg write_png",
    "models": """
        AlexNet DenseNet EfficientNet GoogLeNet Inception3 MobileNetV2 MobileNetV3 RegNet ResNet ResNet18_Weights
        ResNet34_Weights ResNet50_Weights ResNet101_Weights SqueezeNet SwinTransformer VGG VGG16_Weights
        VisionTransformer Weights WeightsEnum alexnet convnext_base convnext_small convnext_tiny densenet121 densenet161
        densenet169 densenet201 efficientnet_b0 efficientnet_b1 get_model get_model_weights get_weight googlenet
        inception_v3 list_models mobilenet_v2 mobilenet_v3_large mobilenet_v3_small resnet18 resnet34 resnet50 resnet101
        resnet152 resnext50_32x4d resnext101_32x8d shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t
        vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_l_16 wide_resnet50_2
        wide_resnet101_2
    """,
    "models.detection": "FasterRCNN MaskRCNN fasterrcnn_resnet50_fpn maskrcnn_resnet50_fpn retinanet_resnet50_fpn",
    "models.feature_extraction": "create_feature_extractor get_graph_node_names",
    "models.resnet": "BasicBlock Bottleneck ResNet resnet18 resnet34 resnet50 resnet101 resnet152",
    "models.segmentation": "deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large",
    "models.vgg": "VGG vgg11 vgg13 vgg16 vgg19",
    "ops": """
        FeaturePyramidNetwork MLP RoIAlign StochasticDepth batched_nms box_area box_convert box_iou clip_boxes_to_image
        complete_box_iou distance_box_iou drop_block2d generalized_box_iou masks_to_boxes nms remove_small_boxes
        roi_align roi_pool sigmoid_focal_loss stochastic_depth
    """,
}
absent_modules(sys.modules[__name__], _NAMES, "fastnn has no layers for images, so {} cannot be used", {})
