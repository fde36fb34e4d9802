"""Greedy decoding with text-bias calibration, in transformers and inside vLLM.

decoder    the contract with the evaluation          load       from a model directory to a decoder
choices    backend, dtype, model folder: light
formula    c + s * (c - t), penalty, suppression     rules      what the checkpoint says: end tokens, penalty, ..
questions  a request's prompts and their lengths     hf         the reference: doubled batches in transformers
                                                     hf_rows, hf_pictures  a batch's rows; pictures encoded once
admission  when a pair may enter the engine          pairs      whether a pair keeps in step
vllm       the fast path: paired requests            vllm_run, vllm_engine  one call of decode; the engine it steps
rows       which logits rows are combined, and how   vllm_v1, vllm_v2  the same for vLLM's two model runners
"""
