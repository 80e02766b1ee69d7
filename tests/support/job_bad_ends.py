"""Histories in which a Job ends, fails, waits or is written as it must not be."""

from __future__ import annotations

from job_history import INDEX
from job_story import START, Story, backing_off, breaks, plain, rule


@breaks("J6")
def both_ends() -> Story:
    story = plain()
    story.condition("Failed")
    return story


@breaks("J6")
def an_end_taken_back() -> Story:
    story = plain()
    story.status(conditions=[], completionTime=None)
    return story


@breaks("J6")
def an_end_while_a_pod_runs() -> Story:
    story = Story()
    story.make("a")
    story.finish("Failed")
    return story


@breaks("J6")
def an_end_with_uids_waiting() -> Story:
    story = Story()
    story.pod(story.make("a"), "Failed")
    story.finish("Failed", uncountedTerminatedPods={"failed": ["j-a"]})
    return story


@breaks("J6")
def a_completion_time_of_a_failure() -> Story:
    story = Story()
    story.finish("Failed", completionTime=START)
    return story


@breaks("J7")
def a_pod_after_the_end() -> Story:
    story = plain()
    story.make("d")
    return story


@breaks("J7")
def a_count_after_the_end() -> Story:
    story = plain()
    story.status(failed=2)
    return story


@breaks("J9")
def failed_below_the_limit() -> Story:
    story = Story()
    story.count(story.make("a"), "Failed")
    story.finish("Failed")
    return story


@breaks("J9")
def complete_above_the_limit() -> Story:
    story = Story(backoffLimit=0, completions=1)
    story.count(story.make("a"), "Failed")
    story.count(story.make("b"))
    story.finish()
    return story


@breaks("J9")
def more_pods_than_asked_for() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), finalizers=[])
    story.gone("j-a")
    story.count(story.make("b"))
    story.finish()
    return story


@breaks("J9")
def a_replacement_before_its_backoff() -> Story:
    return backing_off("2026-01-01T00:00:18Z")


@breaks("J9")
def a_replacement_of_an_index_before_its_backoff() -> Story:
    story = Story(completions=1, completionMode="Indexed", backoffLimitPerIndex=2)
    a = story.make("a", index=0)
    story.pod(a, "Failed", ended=START)
    story.make("b", index=0, annotations={INDEX: "0", "batch.kubernetes.io/job-index-failure-count": "1"})
    return story


@breaks("J9")
def a_pod_too_many_beside_a_failure_policy() -> Story:
    story = Story(completions=1, podFailurePolicy={"rules": [rule("Count")]})
    story.make("z")
    story.count(story.make("a"))
    story.finish()
    return story


@breaks("J10")
def a_pod_while_suspended() -> Story:
    story = Story(suspend=True)
    story.make("a")
    return story


@breaks("J10")
def a_suspended_pod_counts_as_failed() -> Story:
    story = Story()
    a = story.make("a")
    story.edit(suspend=True)
    story.pod(a, deletionTimestamp=START)
    story.gone(a)
    story.status(uncountedTerminatedPods={"failed": [a]})
    return story


@breaks("J10")
def suspended_with_a_start() -> Story:
    story = Story()
    story.edit(suspend=True)
    story.condition("Suspended")
    return story


@breaks("J10")
def resumed_with_the_old_start() -> Story:
    story = Story(suspend=True)
    story.condition("Suspended")
    story.condition("Suspended", "False", at="2026-01-01T00:01:00Z", startTime=START)
    return story


@breaks("J12")
def the_deadline_is_early() -> Story:
    story = Story(activeDeadlineSeconds=10)
    story.condition("FailureTarget", reason="DeadlineExceeded", at="2026-01-01T00:00:08Z")
    return story


@breaks("J12")
def the_deadline_is_late() -> Story:
    story = Story(activeDeadlineSeconds=10)
    story.condition("FailureTarget", reason="DeadlineExceeded", at="2026-01-01T00:00:14Z")
    return story


@breaks("J-L1")
def no_end() -> Story:
    story = Story()
    story.count(story.make("a"))
    return story


@breaks("J-L4")
def a_job_goes_before_its_time() -> Story:
    story = plain()
    story.object["spec"]["ttlSecondsAfterFinished"] = 10
    story.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z"
    story.tell("Job", "MODIFIED", story.object)
    story.tell("Job", "DELETED", story.object)
    return story


@breaks("J-L4")
def the_job_controller_deletes_a_job() -> Story:
    story = plain()
    story.wrote("delete", "jobs", "j")
    return story


@breaks("accepted")
def the_server_finds_a_status_invalid() -> Story:
    story = plain()
    story.wrote("update", "jobs", "j", 422, "status")
    return story
