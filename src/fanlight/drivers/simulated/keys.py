"""From the keysyms a browser sends to the text they type. Only what a test picture needs: no modifiers, no layouts."""

_ENTER, _BACKSPACE, _TAB = (0xFF0D, 0xFF8D), 0xFF08, 0xFF09
_LATIN_1 = (range(0x20, 0x7F), range(0xA0, 0x100))
_UNICODE_FLAG, _LAST_CODE_POINT = 0x01000000, 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
MAX_TYPED = 4_000


def typed_after(typed: str, keysym: int) -> str:
    """Return the text after one more key; keys that type nothing change nothing."""
    if keysym in _ENTER:
        return (typed + "\n")[-MAX_TYPED:]
    if keysym == _BACKSPACE:
        return typed[:-1]
    if keysym == _TAB:
        return (typed + "    ")[-MAX_TYPED:]
    code = keysym - _UNICODE_FLAG if keysym >= _UNICODE_FLAG else keysym
    is_text = any(code in span for span in _LATIN_1) or (
        keysym >= _UNICODE_FLAG and 0x20 <= code <= _LAST_CODE_POINT and code not in _SURROGATES  # noqa: PLR2004
    )
    return (typed + chr(code))[-MAX_TYPED:] if is_text else typed
