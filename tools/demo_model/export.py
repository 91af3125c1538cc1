"""Writes the trained model as a model directory in FP16 ONNX, and compares it with PyTorch.

  export.py WORK_DIR OUT_DIR     reads WORK_DIR/model.pt and heldout.txt and OUT_DIR/tokenizer.json; writes
                                 OUT_DIR/{model.onnx,config.json,generation_config.json,heldout.txt,calibration.txt}

Weights and activations are FP16. The mean of squares in the norms, the softmax, the rotary angles and the logits are
FP32, by Casts in the graph, so no sum can overflow.
"""

import argparse
import copy
import json
import pathlib
import shutil

import numpy as np
import onnx
import torch

from measure import encode, perplexity, session
from model import Config, LlamaForCausalLM

CALIBRATION_PASSAGES = 128


def export_onnx(model, path):
    """Traces the model with a batch of two, one row padded, and writes opset 17."""
    input_ids = torch.arange(3, 21).reshape(2, 9)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 7:] = 0
    position_ids = torch.arange(9).repeat(2, 1)
    dynamic = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        model, (input_ids, attention_mask, position_ids), str(path), dynamo=False, opset_version=17,
        input_names=["input_ids", "attention_mask", "position_ids"], output_names=["logits"],
        dynamic_axes={name: dynamic for name in ("input_ids", "attention_mask", "position_ids", "logits")},
    )
    onnx.checker.check_model(str(path), full_check=True)


def write_configs(config, out_dir):
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "head_dim", "max_position_embeddings", "rope_theta", "rms_norm_eps")
    values = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{name: getattr(config, name) for name in names},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float16",
        "use_cache": False,
    }
    (out_dir / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_length": config.max_position_embeddings,
                  "do_sample": True, "temperature": 0.8, "top_p": 0.95, "use_cache": False}
    (out_dir / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def write_texts(work_dir, out_dir):
    """Copies the held-out text, and takes passages from all over the training text for calibration."""
    shutil.copyfile(work_dir / "heldout.txt", out_dir / "heldout.txt")
    passages = (work_dir / "train.txt").read_text(encoding="ascii").strip().split("\n\n")
    chosen = [passages[i * len(passages) // CALIBRATION_PASSAGES] for i in range(CALIBRATION_PASSAGES)]
    (out_dir / "calibration.txt").write_text("\n\n".join(chosen) + "\n", encoding="ascii")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", type=pathlib.Path)
    parser.add_argument("out_dir", type=pathlib.Path)
    args = parser.parse_args()
    config = Config()
    model = LlamaForCausalLM(config)
    model.load_state_dict(torch.load(args.work_dir / "model.pt"))
    model.eval()
    export_onnx(copy.deepcopy(model).half(), args.out_dir / "model.onnx")
    write_configs(config, args.out_dir)
    write_texts(args.work_dir, args.out_dir)

    documents = encode(args.out_dir, args.out_dir / "heldout.txt", config.max_position_embeddings)
    runtime = session(str(args.out_dir / "model.onnx"))

    def in_torch(ids, mask, positions):
        with torch.no_grad():
            return model(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(positions)).numpy()

    def in_onnx(ids, mask, positions):
        return runtime.run(["logits"], {"input_ids": ids, "attention_mask": mask, "position_ids": positions})[0]

    ids = np.array([documents[0][:64], documents[1][:64]])
    mask = np.ones_like(ids)
    mask[1, 40:] = 0
    positions = np.broadcast_to(np.arange(64), ids.shape).copy()
    wanted, got = in_torch(ids, mask, positions), in_onnx(ids, mask, positions)
    print(f"largest difference of a logit: {np.abs(wanted - got)[mask == 1].max():.4f} of {np.abs(wanted).max():.2f}")
    print(f"held-out perplexity: PyTorch FP32 {perplexity(in_torch, documents):.4f}, "
          f"ONNX FP16 {perplexity(in_onnx, documents):.4f}")


if __name__ == "__main__":
    main()
