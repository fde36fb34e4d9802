"""Rollouts: from data rows to sampled and scored completions, one hint level after the other.

placement        who samples, and on which GPUs
prompting        data rows -> encoded prompts -> turns, one per hint level that fits
escalation       the types of a rollout; which level is sampled when, and which group is trained on
mixed            groups that mix hints, sampled in rounds
redraw           other prompts for those whose group has no signal (`--keep_sampling`)
scorer           rewards of groups, accuracies of completions
hf               the backends: transformers' `generate`,
vllm_colocate    vLLM in the training process,
vllm_server      or a vLLM server
vllm_stream      a completion on a server, which can be stopped
vllm_common      what both vLLM backends share
serve            vLLM's API server with the flags that a trainer needs
server_process   the server that a run starts, and shuts down when it ends
access           the server's token, and how a trainer connects to it
"""
