"""The measurements behind the speed and memory figures in docs/performance.md. Each script prints its table; results/ keeps them.

calibrated_decoding   tokens per second of calibrated decoding, in five ways
evaluation            questions per minute of the whole evaluation command, against plain vLLM
train_step            time and memory of a training step, against plain TRL and the original code's schedule
escalation            what hint levels add to a training step with vLLM
scaling               time and memory as a run and its data grow
scoring               completions scored per second
report_page           opening and searching the page of a large run
pictures              what --picture_processing changes

Shared by them: measuring (time, peak memory), chromium, profiles (trainers with a fixed level profile), random_model.
"""
