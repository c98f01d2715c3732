"""What the terms of some models ask of whoever passes them on, or what was made of them: a pointer, no legal advice."""

TERMS = {
    "gemma": (
        "whoever passes on the model, or what is made of it (such as adapters), passes on the terms with their use "
        "restrictions, says which files were changed, and adds the notice that they ask for: "
        "https://ai.google.dev/gemma/terms"
    ),
    "llama": (
        "whoever passes on the model, or what is made of it (such as adapters), passes on the agreement with its "
        "notice, shows 'Built with Llama' and gives what is made so a name that begins with Llama; its acceptable use "
        "policy holds: https://www.llama.com/license"
    ),
    "qwen research": (
        "for research and other uses that are not commercial; what is made of it shows 'Built with Qwen' or 'Improved "
        "using Qwen' where it is passed on: https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE"
    ),
}
"""By words that stand in the licence's name."""


def terms_of(licence: str) -> str | None:
    """Return what the terms of a licence ask; None of one that is not among TERMS, as Apache-2.0 and MIT are not."""
    words = licence.lower().replace("-", " ")
    return next((asked for name, asked in TERMS.items() if name in words), None)
