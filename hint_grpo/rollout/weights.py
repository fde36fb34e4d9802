"""Putting new weights into a vLLM engine, inside the engine's own process."""

import hint_grpo.stack

from typing import Any

import torch


def repack_tied_head(model: torch.nn.Module) -> None:
    """vLLM's CPU build computes the output head from a packed copy. A reload makes it anew where it loads the head, but passes
    a head by that is tied to the embeddings: the copy would keep the old weights, and sampling would follow them."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    if hint_grpo.stack.HAS_CUDA:
        return
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


class WeightLoading:
    """Mixed into the workers of a vLLM server (--worker-extension-cls); called through /collective_rpc."""

    model_runner: Any

    def load_weights_from(self, folder: str) -> None:
        """Replaces the weights by those of the safetensors files in `folder`."""
        self.model_runner.reload_weights(weights_path=folder)
        repack_tied_head(self.model_runner.get_model())
