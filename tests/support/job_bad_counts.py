"""Histories in which Pods are made, counted or let go as they must not be."""

from __future__ import annotations

from job_history import INDEX
from job_story import START, UID, Story, adopted, breaks, indexed, plain, rule


@breaks("J1")
def more_active_than_parallelism() -> Story:
    story = Story(completions=9)
    for letter in "abc":
        story.make(letter)
    return story


@breaks("J1")
def a_replacement_beside_a_terminating_pod() -> Story:
    story = Story(parallelism=1, podReplacementPolicy="Failed")
    story.pod(story.make("a"), deletionTimestamp=START)
    story.make("b")
    return story


@breaks("J2")
def work_beyond_completions() -> Story:
    story = Story(completions=2)
    story.count(story.make("a"))
    story.make("b")
    story.make("c")
    return story


@breaks("J2")
def work_beyond_completions_of_indexes() -> Story:
    story = Story(completions=1, completionMode="Indexed")
    story.count(story.make("a", index=0))
    story.make("b", index=0)
    return story


@breaks("J3")
def a_uid_comes_back() -> Story:
    story = Story()
    a = story.make("a")
    story.count(a)
    story.status(uncountedTerminatedPods={"succeeded": [a]})
    return story


@breaks("J3")
def a_uid_in_both_lists() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Failed")
    story.status(uncountedTerminatedPods={"succeeded": [a], "failed": [a]})
    return story


@breaks("J3")
def a_success_counted_twice() -> Story:
    story = Story()
    story.count(story.make("a"))
    story.status(succeeded=2)
    return story


@breaks("J3")
def a_failure_that_was_none() -> Story:
    story = Story()
    story.make("a")
    story.status(failed=1)
    return story


@breaks("J4")
def a_counter_falls() -> Story:
    story = Story()
    story.count(story.make("a"), "Failed")
    story.status(failed=0)
    return story


@breaks("J4")
def a_completed_index_is_lost() -> Story:
    story = indexed()
    story.status(completedIndexes="0")
    return story


@breaks("J5")
def a_finished_pod_is_let_go_uncounted() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Succeeded")
    story.pod(a, finalizers=[])
    story.status(succeeded=1)
    return story


@breaks("J5")
def a_finished_pod_vanishes_uncounted() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Failed")
    story.gone(a)
    return story


@breaks("J5")
def an_index_is_let_go_uncounted() -> Story:
    story = Story(completionMode="Indexed")
    a = story.make("a", index=0)
    story.pod(a, "Succeeded")
    story.pod(a, finalizers=[])
    return story


@breaks("J5")
def too_many_uids_wait() -> Story:
    story = Story()
    story.status(uncountedTerminatedPods={"failed": [str(number) for number in range(501)]})
    return story


@breaks("J8")
def two_pods_of_an_index() -> Story:
    story = Story(completionMode="Indexed")
    story.make("a", index=0)
    story.make("b", index=0)
    return story


@breaks("J8")
def a_label_of_another_index() -> Story:
    story = Story(completionMode="Indexed")
    story.make("a", index=0, annotations={INDEX: "1"})
    return story


@breaks("J8")
def more_successes_than_indexes() -> Story:
    story = indexed()
    story.status(succeeded=3)
    return story


@breaks("J5")
def a_failure_that_policy_does_not_ignore_is_let_go_uncounted() -> Story:
    story = Story(podFailurePolicy={"rules": [rule("Count"), rule("Ignore")]})
    a = story.make("a")
    story.pod(a, "Failed")
    story.pod(a, finalizers=[])
    return story


@breaks("J-L2")
def a_finalizer_of_a_namesake_before_is_left() -> Story:
    story = plain()
    story.tell("Job", "ADDED", {"metadata": {"name": "j", "uid": "earlier"}, "spec": {"managedBy": "ours"}})
    story.make("z", owner="earlier")
    return story


@breaks("J11")
def somebody_elses_pod_is_deleted() -> Story:
    story = adopted()
    story.wrote("delete", "pods", "j-theirs")
    return story


@breaks("J11")
def somebody_elses_pod_is_taken() -> Story:
    story = adopted()
    story.pod("j-theirs", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J11")
def a_pod_that_does_not_match_is_adopted() -> Story:
    story = Story()
    story.make("bare", owner="", labels={"app": "y"})
    story.pod("j-bare", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J11")
def a_job_on_its_way_out_adopts() -> Story:
    story = Story()
    story.make("bare", owner="")
    story.object["metadata"]["deletionTimestamp"] = START
    story.status()
    story.pod("j-bare", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J13")
def somebody_elses_job_is_written() -> Story:
    story = Story()
    story.tell("Job", "ADDED", {"metadata": {"name": "k", "uid": "k"}, "spec": {"managedBy": "theirs"}})
    story.wrote("update", "jobs", "k", subresource="status")
    return story


@breaks("J13")
def a_pod_of_somebody_elses_job_is_written() -> Story:
    story = Story()
    story.tell("Job", "ADDED", {"metadata": {"name": "k", "uid": "k"}, "spec": {"managedBy": "theirs"}})
    story.make("z", owner="k")
    story.wrote("patch", "pods", "j-z")
    return story


@breaks("J14")
def a_pod_without_the_finalizer() -> Story:
    story = Story()
    story.make("a", finalizers=[])
    return story


@breaks("J14")
def a_pod_of_another_name() -> Story:
    story = Story()
    story.make("a", name="random")
    return story


@breaks("J14")
def a_pod_without_the_templates_labels() -> Story:
    story = Story()
    story.make("a", labels={})
    return story


@breaks("J14")
def a_template_is_changed() -> Story:
    story = Story()
    story.edit(template={**story.object["spec"]["template"], "metadata": {"labels": {}}})
    return story


@breaks("J-L2")
def a_finalizer_is_left() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), "Failed")
    story.status(uncountedTerminatedPods={"failed": ["j-a"]})
    story.status(uncountedTerminatedPods={}, failed=1)
    story.finish("Failed")
    return story


@breaks("J-L2")
def a_finalizer_is_left_when_the_job_is_gone() -> Story:
    story = Story()
    story.make("a")
    story.tell("Job", "DELETED", story.object)
    return story


@breaks("J-L3")
def a_success_is_lost() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), "Succeeded", finalizers=[])
    story.finish()
    return story
