# SPDX-License-Identifier: MIT
"""`undertow completion`: the script that it prints, sourced by the shell that it is for."""

import builtins
import shutil
import subprocess

import pytest

from undertow.cli.completion import SHELLS

shtab = pytest.importorskip("shtab", reason="needs shtab: pip install shtab")


@pytest.fixture
def script(cli, tmp_path):
    """The script for a shell, as a file."""

    def write(shell):
        code, out, err = cli("completion", shell)
        assert (code, err) == (0, "")
        (tmp_path / shell).write_text(out)
        return tmp_path / shell

    return write


def bash(script, folder, *words):
    """What bash offers for the last of the words, as pressing the key twice shows it."""
    program = f"""
        source {script}
        COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
        COMP_LINE="{" ".join(words)}"; COMP_POINT=${{#COMP_LINE}}
        handler=$(complete -p undertow | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $handler undertow "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}" 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_and_files(script, tmp_path):
    file = script("bash")
    (tmp_path / "model.tow").touch()
    (tmp_path / "more.onnx").touch()
    assert bash(file, tmp_path, "undertow", "c") == {"convert", "compare", "certify", "completion"}
    assert bash(file, tmp_path, "undertow", "info", "--js") == {"--json"}
    assert bash(file, tmp_path, "undertow", "info", "mo") == {"model.tow", "more.onnx"}
    assert bash(file, tmp_path, "undertow", "compare", "model.tow", "mor") == {"more.onnx"}
    assert bash(file, tmp_path, "undertow", "convert", "model.tow", "--proof", "mor") == {"more.onnx"}
    assert bash(file, tmp_path, "undertow", "completion", "") >= {"bash", "zsh"}
    assert "model.tow" not in bash(file, tmp_path, "undertow", "info", "--isa", "mo")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_take_the_script(script, shell):
    if shell not in shtab.SUPPORTED_SHELLS:
        pytest.skip(f"needs a newer shtab for {shell}: pip install --upgrade shtab")
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}: apt install {shell}")
    subprocess.run([shell, "-n", script(shell)], check=True)


def test_the_script_is_what_shtab_wrote(script):
    """`say` escapes control characters: there are none."""
    for shell in SHELLS:
        if shell in shtab.SUPPORTED_SHELLS:
            assert "\\x" not in script(shell).read_text()


def test_without_shtab(cli, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "shtab":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    code, out, err = cli("completion", "bash")
    assert code == 3 and not out and 'pip install "undertow[completion]"' in err


def test_a_shell_that_this_shtab_does_not_know(cli, monkeypatch):
    monkeypatch.setattr(shtab, "SUPPORTED_SHELLS", ["bash"])
    code, _, err = cli("completion", "fish")
    assert code == 2 and "pip install --upgrade shtab" in err
