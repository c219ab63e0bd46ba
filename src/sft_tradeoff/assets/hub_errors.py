"""Turn failures of the hub's client into one line with the fix."""

from __future__ import annotations

from sft_tradeoff.assets.spec import HubAsset

_REFUSED_TOKEN = "Invalid credentials"  # the server's answer for every request
_WITHOUT_NETWORK = (
    "or fetch it on a machine with network access ('snakemake material') into a cache that both "
    "machines can read (SFT_TRADEOFF_CACHE), or use a local copy with 'source: local'"
)


def explain_hub(spec: HubAsset, error: Exception) -> str:
    """Say what went wrong and what to do: where to accept terms, which variable to set.

    Args:
        spec: The asset.
        error: Raised by ``huggingface_hub``, which reports most failures as a missing local file,
            with the real error as its cause.
    """
    from huggingface_hub import constants, errors

    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    page = f"{constants.ENDPOINT}/{'datasets/' * (spec.repo_type == 'dataset')}{spec.repo}"
    match error:
        case errors.OfflineModeIsEnabled():
            return (
                f"{spec.repo} at {spec.revision} is not in the cache, and HF_HUB_OFFLINE or "
                f"TRANSFORMERS_OFFLINE forbids downloading it; unset it, {_WITHOUT_NETWORK}"
            )
        case errors.HFValidationError():
            return f"{spec.repo!r} is not a hub repository name; write it as 'owner/name'"
        case errors.RevisionNotFoundError():
            return f"{spec.repo} has no commit {spec.revision}; choose one from {page}/commits/main"
        case errors.HfHubHTTPError():
            return _explain_answer(spec, error, page, f"{constants.ENDPOINT}/settings/tokens")
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, errors.HTTPError):
        return (
            f"the hub cannot be reached for {spec.repo} ({type(error).__name__}: {text}); check "
            f"the network, HTTPS_PROXY and HF_ENDPOINT ({constants.ENDPOINT}), {_WITHOUT_NETWORK}"
        )
    return f"the download of {spec.repo} was interrupted ({text}); run the same command again"


def _explain_answer(spec: HubAsset, error: Exception, page: str, tokens: str) -> str:
    """Explain an HTTP error of the hub."""
    from huggingface_hub import errors, get_token

    status = error.response.status_code  # type: ignore[attr-defined]
    kind = spec.repo_type
    if status == 401 and _REFUSED_TOKEN in str(error):
        return f"the hub refuses the token (HF_TOKEN): mistyped or expired; create one at {tokens}"
    if isinstance(error, errors.GatedRepoError):
        if get_token() is None:
            return (
                f"{kind} {spec.repo} is gated: accept its terms at {page}, create a token with "
                f"read access at {tokens}, set HF_TOKEN to it and run the same command again"
            )
        return (
            f"{kind} {spec.repo} is gated, and the token's account has no access: accept the terms "
            f"at {page} with that account (some owners review requests by hand), and give a "
            f"fine-grained token access to gated repositories at {tokens}"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return (
            f"the hub has no {kind} {spec.repo!r} that you may read (HTTP {status}); check the "
            f"spelling and 'repo_type'; if it is private, set HF_TOKEN ({tokens})"
        )
    if status == 429:
        return "too many requests to the hub (HTTP 429); set HF_TOKEN for a higher limit, or wait"
    return f"the hub returned an error for {spec.repo} (HTTP {status}); run the same command later"
