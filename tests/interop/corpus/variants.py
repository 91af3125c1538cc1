"""Files made from an exported one by the tools that people run afterwards."""

import pathlib
import shutil


def fp16_keep_io(source, target):
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def fp16_common(source, target):
    import onnx
    from onnxconverter_common.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def ort_saved(level):
    def run(source, target):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return run


def ort_optimized(model_type, **options):
    def run(source, target):
        from onnxruntime.transformers import optimizer

        found = optimizer.optimize_model(
            str(source), model_type=model_type, num_heads=4, hidden_size=64, opt_level=0
        )
        if options.get("fp16"):
            found.convert_float_to_float16(keep_io_types=True)
        found.save_model_to_file(str(target))

    return run


def slimmed(source, target):
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def simplified(source, target):
    import onnx
    import onnxsim

    found, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(found, target)


def external(source, target):
    import onnx

    onnx.save(
        onnx.load(source),
        target,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )


def inlined(source, target):
    import onnx
    from onnx import inliner

    onnx.save(inliner.inline_local_functions(onnx.load(source)), target)


def converted(opset):
    def run(source, target):
        import onnx
        from onnx import version_converter

        onnx.save(version_converter.convert_version(onnx.load(source), opset), target)

    return run


VARIANTS = {
    "fp16": fp16_keep_io,
    "fp16common": fp16_common,
    "ortbasic": ort_saved("ORT_ENABLE_BASIC"),
    "ortextended": ort_saved("ORT_ENABLE_EXTENDED"),
    "ortall": ort_saved("ORT_ENABLE_ALL"),
    "fusedbert": ort_optimized("bert"),
    "fusedbertfp16": ort_optimized("bert", fp16=True),
    "fusedgpt2": ort_optimized("gpt2"),
    "fusedt5": ort_optimized("t5"),
    "fusedvit": ort_optimized("vit"),
    "fusedbart": ort_optimized("bart"),
    "fusedclip": ort_optimized("clip"),
    "fusedphi": ort_optimized("phi"),
    "fusedunet": ort_optimized("unet"),
    "slim": slimmed,
    "sim": simplified,
    "external": external,
    "inlined": inlined,
    "to21": converted(21),
    "to15": converted(15),
}


def derive(source_folder, variant, target_folder):
    """Makes a variant of an exported model; raises what the tool raises."""
    target_folder = pathlib.Path(target_folder)
    target_folder.mkdir(parents=True, exist_ok=True)
    target = target_folder / "model.onnx"
    VARIANTS[variant](pathlib.Path(source_folder) / "model.onnx", target)
    shutil.copy(pathlib.Path(source_folder) / "io.npz", target_folder / "io.npz")
    return target
