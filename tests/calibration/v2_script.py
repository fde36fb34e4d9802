"""Run under Triton's interpreter: answers questions by calibrated decoding on Model Runner V2, and writes them as JSON.

The argument is a JSON file: models (paths), questions (DecodeRequest's fields), batches (scale, number of questions), engine
(EngineArgs), report (file to write).
"""

import hint_grpo.machine.stack  # noqa: F401

import json
import sys
from dataclasses import asdict
from pathlib import Path

from decoding import answers, vllm_decoder

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.vllm_v2 import PairedLogitsV2


def main(job: dict) -> None:
    requests = [DecodeRequest(**question) for question in job["questions"]]
    seen = {}
    for family, model in job["models"].items():
        with vllm_decoder(model, **job["engine"]) as decoder:
            assert decoder.engine.vllm_config.use_v2_model_runner
            assert decoder.engine.vllm_config.model_config.logits_processors == [PairedLogitsV2]
            seen[family] = [
                [asdict(completion) for completion in answers(decoder, requests[:number], scale).values()]
                for scale, number in job["batches"]
            ]
            assert decoder.num_redecoded == 0
    Path(job["report"]).write_text(json.dumps(seen))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
