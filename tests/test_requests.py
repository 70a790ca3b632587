"""Requests to vendors: repeated after an outage, and free of credentials."""

from __future__ import annotations

import pytest
from device_draws import draw

from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import JobError, scrub


def test_trouble_is_waited_out_and_a_job_whose_answer_was_lost_is_paid_once(ionq):
    ionq.troubles = [429, 500]
    ionq.lost_answers = 1
    draw(make_sampler("ionq:simulator", 0))
    assert len(ionq.jobs) == 1


def test_a_refused_request_is_an_error_without_retries_or_credentials(ionq):
    ionq.troubles = [403]
    with pytest.raises(JobError, match=r"ionq:simulator refused a request \(IonQAPIError"):
        draw(make_sampler("ionq:simulator", 0))
    assert not ionq.jobs
    assert scrub("apiKey open-sesame") == "apiKey <IONQ_API_KEY>"
    assert "open-sesame" not in str(JobError("rejected apiKey open-sesame"))
