"""Traces that were chosen by hand: each field and each rule of the Job controller at least once."""

from __future__ import annotations

from job_traces import (
    ALL,
    CreateAgain,
    Delete,
    DeleteJob,
    DeleteNamespace,
    Disown,
    Edit,
    EditStatus,
    End,
    Relabel,
    Run,
    Stray,
    Trace,
    Vanish,
    Wait,
    template,
)

SUCCEED = (End(ALL, "Succeeded"),)
FAIL = (End(ALL, "Failed"),)
RUN = (Run(ALL),)
DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
FAIL_JOB = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
FAIL_INDEX = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}}
COUNT = {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1, 2], "containerName": "init"}}

INDEXED = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
PER_INDEX = {**INDEXED, "backoffLimitPerIndex": 1}

SAMPLE = (
    Trace(
        {"completions": 3, "parallelism": 2}, (RUN, (End((0,), "Failed"),), SUCCEED, SUCCEED), "a failure in between"
    ),
    Trace({"parallelism": 3}, (RUN, (End((0,), "Succeeded"),), FAIL), "a queue whose workers decide when it is done"),
    Trace({"completions": 0}, (), "nothing to do"),
    Trace({"completions": 0, "suspend": True}, (), "nothing to do, suspended"),
    Trace(
        {"completions": 4, "parallelism": 4, "backoffLimit": 1},
        (RUN, FAIL, (Vanish(ALL),)),
        "too many failures at once",
    ),
    Trace(
        {"template": template("OnFailure"), "backoffLimit": 2, "parallelism": 2, "completions": 2},
        ((Run((0,), restarts=1),), (Run((1,), restarts=1),), (Vanish(ALL),)),
        "restarts in place reach the limit",
    ),
    Trace(
        PER_INDEX,
        (RUN, (End((1,), "Failed"),), (End((1,), "Failed"),), (End((0, 1), "Succeeded"),)),
        "an index fails twice",
    ),
    Trace(
        {**PER_INDEX, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1},
        (RUN, (End((0, 2), "Failed"),), (Vanish(ALL),)),
        "more failed indexes than are allowed",
    ),
    Trace(
        {**PER_INDEX, "podFailurePolicy": {"rules": [DISRUPTED, FAIL_INDEX, COUNT, FAIL_JOB]}},
        (
            (End((0,), "Failed", 42, condition="DisruptionTarget"),),
            (End((1,), "Failed", 7), End((2,), "Failed", 1)),
            (End((0,), "Failed", 42),),
            (Vanish(ALL),),
        ),
        "every action of a failure policy",
    ),
    Trace(
        {
            "podFailurePolicy": {"rules": [COUNT, {**FAIL_JOB, "onExitCodes": {"operator": "In", "values": [3]}}]},
            "parallelism": 2,
            "completions": 2,
            "template": template(initContainers=[{"name": "init", "image": "local/none"}]),
        },
        ((End((0,), "Failed", 9, "init"),), (End((0,), "Failed", 3, "init"),), (Vanish(ALL),)),
        "exit codes of init containers",
    ),
    Trace(
        {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "1,2"}, {"succeededCount": 2}]}},
        (RUN, (End((1,), "Succeeded"),), (End((0,), "Succeeded"),), (Vanish(ALL),)),
        "a success policy, while a Pod runs",
    ),
    Trace(
        {
            **INDEXED,
            "podFailurePolicy": {"rules": [FAIL_JOB]},
            "successPolicy": {"rules": [{"succeededCount": 1}]},
        },
        (RUN, (End((0,), "Succeeded"), End((1,), "Failed", 42)), (Vanish(ALL),)),
        "failed and succeeded at once",
    ),
    Trace(
        {"completions": 2, "parallelism": 2, "podReplacementPolicy": "Failed"},
        (RUN, (Delete((0,)),), (End((1,), "Failed"),), (Vanish(ALL),), SUCCEED, SUCCEED),
        "replaced only once failed",
    ),
    Trace(
        {"completions": 2, "parallelism": 2},
        (RUN, (Delete((0,)),), (Wait(11.0),), (Vanish(ALL),), SUCCEED),
        "replaced while terminating, after the backoff",
    ),
    Trace(
        {"completions": 2, "parallelism": 2},
        (RUN, (Edit({"suspend": True}),), (End((0,), "Failed"),), (Vanish(ALL),), (Edit({"suspend": False}),), SUCCEED),
        "suspended and resumed",
    ),
    Trace(
        {"suspend": True},
        (
            (
                Edit(
                    {
                        "template": {
                            "metadata": {"labels": {"changed": "yes"}},
                            "spec": {"nodeSelector": {"disk": "ssd"}},
                        }
                    }
                ),
            ),
            (Edit({"suspend": False}),),
            (Edit({"template": {"spec": {"nodeSelector": {"disk": "hdd"}}}}),),
            SUCCEED,
        ),
        "the template of a suspended Job changes",
    ),
    Trace(
        {"completions": 2, "activeDeadlineSeconds": 600},
        (RUN, (Edit({"activeDeadlineSeconds": 1}),), (Vanish(ALL),)),
        "the deadline passes",
    ),
    Trace(
        INDEXED,
        (
            RUN,
            (End((2,), "Succeeded"),),
            (Edit({"completions": 1, "parallelism": 1}),),
            (Edit({"completions": 4, "parallelism": 4}),),
            SUCCEED,
        ),
        "an elastic Job shrinks and grows",
    ),
    Trace(
        {"completions": 4, "parallelism": 4},
        (
            (Run((0, 1, 2)),),
            (Run((0,), ready=False),),
            (Edit({"parallelism": 2}),),
            (Edit({"completions": 5}),),
            (Vanish(ALL),),
        ),
        "which Pods go when there are too many",
    ),
    Trace(
        {
            "completions": 2,
            "parallelism": 2,
            "manualSelector": True,
            "selector": {"matchLabels": {"app": "mine"}},
            "template": template(labels={"app": "mine"}),
        },
        ((Relabel((0,)),), (Disown((0,)),), (Stray("Succeeded"),), SUCCEED),
        "Pods are adopted and released",
    ),
    Trace(
        {"parallelism": 0, "completions": 2}, ((Stray("Succeeded"),), (Stray(),)), "adopted though nothing is to run"
    ),
    Trace({"parallelism": 2}, (RUN, (DeleteJob(),), (CreateAgain(),), SUCCEED), "replaced by a namesake"),
    Trace(
        {"parallelism": 3, "completions": 3},
        (RUN, (DeleteJob("Foreground"),), (End((0,), "Succeeded"),), (End((1,), "Failed"),)),
        "deleted in the foreground",
    ),
    Trace(
        {
            **INDEXED,
            "template": template(
                labels={"own": "label"},
                metadata={"annotations": {"own": "note"}, "finalizers": ["example.com/keep"]},
                hostname="own",
                initContainers=[{"name": "sidecar", "image": "local/none", "restartPolicy": "Always"}],
                containers=[
                    {"name": "main", "image": "local/none", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "own"}]},
                    {"name": "second", "image": "local/none", "env": [{"name": "A", "value": "b"}]},
                ],
            ),
        },
        (RUN, (End((0,), "Failed", 2, "second"),), SUCCEED),
        "what the template says of its own",
    ),
    Trace(
        {"completions": 2},
        (
            (EditStatus({"uncountedTerminatedPods": {"failed": ["somebody"]}}),),
            (EditStatus({"active": 0}),),
            SUCCEED,
            SUCCEED,
        ),
        "somebody else writes the status",
    ),
    Trace({"completions": 2}, ((End((0,), "Failed", is_fresh=True),), (Wait(11.0),), SUCCEED), "backoff"),
    Trace(
        {**PER_INDEX, "backoffLimitPerIndex": 0},
        ((End((0,), "Failed"),), (Stray("Succeeded", 0),), (End((1,), "Succeeded"),), (Stray("Failed", 1),), SUCCEED),
        "a stray Pod of an index that is decided",
    ),
    Trace(
        {**PER_INDEX, "backoffLimitPerIndex": 0, "podReplacementPolicy": "Failed"},
        (RUN, (Edit({"suspend": True}),), FAIL),
        "decided while suspended",
    ),
    Trace(
        {**PER_INDEX, "backoffLimitPerIndex": 0},
        ((EditStatus({"conditions": [{"type": "FailureTarget", "status": "False", "reason": "No"}]}),), FAIL),
        "somebody else writes FailureTarget=False",
    ),
    Trace({"completions": 2}, ((DeleteNamespace(),), SUCCEED), "the namespace goes"),
    Trace({**INDEXED, "completions": None}, (), "refused: no completions"),
    Trace({"maxFailedIndexes": 1}, (), "refused: not indexed"),
)
