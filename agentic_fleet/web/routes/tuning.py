"""The part of the HTTP surface about the decision programs, as one list: jobs, what they are, small questions."""

from starlette.routing import BaseRoute

from agentic_fleet.web import examples, jobs, language, programs, wire
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
    Resource(
        "/api/v1/optimization/jobs",
        GET=Operation(
            handler=jobs.list_jobs,
            summary="The caller's optimisation jobs, newest first",
            answers={200: list[jobs.JobView]},
        ),
        POST=Operation(
            handler=jobs.start_job,
            operators=True,
            summary="Optimise the decision programs; what is better is used by the next run. One job at a time",
            body=jobs.OptimizationBody,
            answers={202: jobs.JobView},
        ),
    ),
    Resource(
        "/api/v1/optimization/jobs/{job_id}",
        GET=Operation(handler=jobs.show_job, summary="An optimisation job", answers={200: jobs.JobView}),
    ),
    Resource(
        "/api/v1/optimization/jobs/{job_id}/cancel",
        POST=Operation(
            handler=jobs.cancel_job, summary="End an optimisation job; may be repeated", answers={200: jobs.JobView}
        ),
    ),
    Resource(
        "/api/v1/dspy/prompts",
        GET=Operation(
            handler=programs.show_prompts,
            summary="What a model is told by each decision program",
            answers={200: dict[str, programs.PromptView]},
        ),
    ),
    Resource(
        "/api/v1/dspy/signatures",
        GET=Operation(
            handler=programs.show_signatures,
            summary="What each decision program takes and answers",
            answers={200: dict[str, programs.SignatureView]},
        ),
    ),
    Resource(
        "/api/v1/dspy/config",
        GET=Operation(handler=programs.show_config, summary="Who decides, and how", answers={200: programs.ConfigView}),
    ),
    Resource(
        "/api/v1/dspy/stats",
        GET=Operation(handler=programs.show_stats, summary="What has been kept", answers={200: programs.StatsView}),
    ),
    Resource(
        "/api/v1/dspy/cache",
        GET=Operation(
            handler=programs.show_cache, summary="The optimised programs on disk", answers={200: programs.CacheView}
        ),
        DELETE=Operation(
            handler=programs.clear_cache,
            operators=True,
            summary="Delete every optimised program; the next run uses the packaged ones",
            answers={204: None},
        ),
    ),
    Resource(
        "/api/v1/dspy/reasoner/summary",
        GET=Operation(
            handler=programs.show_reasoner, summary="The planner and its cache", answers={200: programs.ReasonerView}
        ),
    ),
    Resource(
        "/api/v1/dspy/reasoner/routing-cache",
        DELETE=Operation(
            handler=programs.clear_plans,
            operators=True,
            summary="Forget the plans that are kept",
            answers={204: None},
        ),
    ),
    Resource(
        "/api/v1/dspy/examples",
        GET=Operation(
            handler=examples.list_examples,
            summary="What the caller's runs teach, newest first",
            query=(wire.PageQuery,),
            answers={200: list[examples.ExampleView]},
        ),
    ),
    Resource(
        "/api/v1/dspy/programs",
        GET=Operation(
            handler=programs.list_programs,
            summary="Every version of the decision programs, newest first, the packaged one last",
            answers={200: list[programs.ProgramView]},
        ),
    ),
    Resource(
        "/api/v1/dspy/programs/{program_version}/adopt",
        POST=Operation(
            handler=programs.adopt_program,
            operators=True,
            summary="Put a version in force, from the next run on: an earlier one, or `packaged`",
            answers={200: programs.ProgramView},
        ),
    ),
    Resource(
        "/api/v1/classify_intent",
        POST=Operation(
            handler=language.classify_intent,
            summary="Which of the given intents a text has",
            body=language.IntentBody,
            answers={200: language.IntentView},
        ),
    ),
    Resource(
        "/api/v1/extract_entities",
        POST=Operation(
            handler=language.extract_entities,
            summary="The entities of the given types in a text",
            body=language.EntityBody,
            answers={200: language.EntitiesView},
        ),
    ),
]
