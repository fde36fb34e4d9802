"""Greedy decoding with text-bias calibration (paper section 3.3), in transformers and inside vLLM.

The contract with the evaluation
    decoder      request, completion, Decoder; choice of backend and dtype (light to import)
    load         from a model's folder to a Decoder
The method, shared by both backends
    formula      c + s * (c - t), repetition penalty, suppressed tokens
    prompting    a request's one or two prompts as token ids; the checkpoint's rules for greedy decoding: end tokens, penalty,
                 suppressed tokens
transformers
    hf           the reference: doubled batches, pictures encoded once
vLLM
    vllm         the fast path: two requests per question, stepped together
    admission    when a question may enter the engine, and whether its requests keep in step
    vllm_engine  builds the engine
    rows         which rows of a batch of logits are combined, and how
    vllm_v1, vllm_v2   the logits processor for each of vLLM's two model runners
"""
