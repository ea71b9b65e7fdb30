# SPDX-License-Identifier: MIT
"""Projects of ecosystems: their files, and whether a compiler takes their examples, against stubs of their headers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import undertow
from networks import GRAPHS, cell
from undertow import export
from undertow.cli import main
from undertow.export.projects import PROJECTS
from undertow.ir.graph import Graph
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

DOCS = Path(__file__).parent.parent / "docs"
EXPECTED = {
    "cortex-m": {"Makefile", "board.ld", "board.h", "start.c", "main.c", "m.c", "m.h"},
    "arduino": {"library.properties", "src/m.c", "src/m.h", "examples/Sensor/Sensor.ino"},
    "platformio": {
        "library.json", "src/m.c", "include/m.h", "examples/sensor/platformio.ini", "examples/sensor/src/main.cpp",
    },
    "zephyr": {
        "zephyr/module.yml", "CMakeLists.txt", "src/m.c", "include/m.h",
        "app/CMakeLists.txt", "app/prj.conf", "app/app.overlay", "app/src/main.c",
    },
    "pico": {"CMakeLists.txt", "main.c", "m.c", "m.h"},
    "esp-idf": {
        "CMakeLists.txt", "components/m/CMakeLists.txt", "components/m/idf_component.yml", "components/m/m.c",
        "components/m/include/m.h", "main/CMakeLists.txt", "main/main.c",
    },
    "daisy": {"Makefile", "main.cpp", "m.c", "m.h"},
}  # fmt: skip

_ARDUINO = """\
#pragma once
#include <stddef.h>
#include <stdint.h>
#define A0 14
struct Printer { void begin(unsigned long); void print(float); void print(char); void println(); };
extern Printer Serial;
int analogRead(int);
unsigned long micros();
"""
#: ecosystem -> the example, and headers that declare what it uses
STUBS = {
    "cortex-m": ("main.c", {}),
    "arduino": ("examples/Sensor/Sensor.ino", {"Arduino.h": _ARDUINO}),
    "platformio": ("examples/sensor/src/main.cpp", {"Arduino.h": _ARDUINO}),
    "zephyr": ("app/src/main.c", {
        "zephyr/drivers/adc.h": """
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
struct adc_dt_spec { int channel; };
struct adc_sequence { void *buffer; size_t buffer_size; };
#define DT_PATH(node) 0
#define ADC_DT_SPEC_GET(node) {node}
int adc_sequence_init_dt(const struct adc_dt_spec*, struct adc_sequence*);
int adc_read_dt(const struct adc_dt_spec*, const struct adc_sequence*);
bool adc_is_ready_dt(const struct adc_dt_spec*);
int adc_channel_setup_dt(const struct adc_dt_spec*);
""",
        "zephyr/kernel.h": """
typedef struct { int ticks; } k_timeout_t;
struct k_timer { int n; };
#define K_MSEC(n) ((k_timeout_t){n})
void k_timer_init(struct k_timer*, void (*)(struct k_timer*), void (*)(struct k_timer*));
void k_timer_start(struct k_timer*, k_timeout_t, k_timeout_t);
unsigned k_timer_status_sync(struct k_timer*);
""",
        "zephyr/sys/printk.h": "void printk(const char*, ...);",
    }),
    "pico": ("main.c", {
        "hardware/adc.h": """
#include <stdint.h>
void adc_init(void); void adc_gpio_init(unsigned); void adc_select_input(unsigned); uint16_t adc_read(void);
""",
        "pico/stdlib.h": """
#include <stdbool.h>
#include <stdint.h>
typedef uint64_t absolute_time_t;
bool stdio_init_all(void); absolute_time_t get_absolute_time(void);
absolute_time_t delayed_by_us(absolute_time_t, uint64_t); void sleep_until(absolute_time_t);
""",
    }),
    "esp-idf": ("main/main.c", {
        "freertos/FreeRTOS.h": "",
        "esp_err.h": "typedef int esp_err_t;\\n#define ESP_ERROR_CHECK(x) (void)(x)",
        "driver/i2s_std.h": """
#include <stddef.h>
#include <stdint.h>
typedef enum { I2S_GPIO_UNUSED = -1, GPIO_NUM_4 = 4, GPIO_NUM_5, GPIO_NUM_18 = 18 } gpio_num_t;
typedef struct channel* i2s_chan_handle_t;
typedef struct { int id, role; } i2s_chan_config_t;
#define I2S_CHANNEL_DEFAULT_CONFIG(n, r) {.id = (n), .role = (r)}
enum { I2S_NUM_AUTO, I2S_ROLE_MASTER, I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO };
typedef struct { uint32_t rate; } i2s_std_clk_config_t;
typedef struct { int width, mode; } i2s_std_slot_config_t;
typedef struct { gpio_num_t mclk, bclk, ws, dout, din; } i2s_std_gpio_config_t;
typedef struct {
  i2s_std_clk_config_t clk_cfg; i2s_std_slot_config_t slot_cfg; i2s_std_gpio_config_t gpio_cfg;
} i2s_std_config_t;
#define I2S_STD_CLK_DEFAULT_CONFIG(r) {.rate = (r)}
#define I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(w, m) {.width = (w), .mode = (m)}
#define portMAX_DELAY 0xffffffffu
int i2s_new_channel(const i2s_chan_config_t*, i2s_chan_handle_t*, i2s_chan_handle_t*);
int i2s_channel_init_std_mode(i2s_chan_handle_t, const i2s_std_config_t*);
int i2s_channel_enable(i2s_chan_handle_t);
int i2s_channel_read(i2s_chan_handle_t, void*, size_t, size_t*, uint32_t);
""",
    }),
    "daisy": ("main.cpp", {
        "daisy_seed.h": """
#include <cstddef>
namespace daisy {
struct AudioHandle { typedef const float* const* InputBuffer; typedef float** OutputBuffer; };
struct SaiHandle {
  struct Config { enum class SampleRate { SAI_8KHZ, SAI_16KHZ, SAI_32KHZ, SAI_48KHZ, SAI_96KHZ }; };
};
struct DaisySeed {
  void Init();
  void SetAudioBlockSize(size_t);
  void SetAudioSampleRate(SaiHandle::Config::SampleRate);
  void StartAudio(void (*)(AudioHandle::InputBuffer, AudioHandle::OutputBuffer, size_t));
};
}
""",
    }),
}  # fmt: skip


def gated():
    """Several inputs, the first of which is a gate, and a rate that libDaisy has."""
    graph = Graph("gated")
    valid = graph.input("valid", (1,))
    (y,) = cell(graph, np.random.default_rng(0), "gru", graph.input("x", 3), 5)
    graph.nodes[-1].inputs += (valid,)
    graph.output("y", y)
    graph.sample_rate = 16000
    return Model.from_graph(graph)


MODELS = {
    "digits": lambda: undertow.load(undertow.example("digits")),
    "zoo": lambda: Model.from_graph(GRAPHS["zoo"]()),  # several inputs, ids among them, and outputs
    "gated": gated,
    "text": lambda: undertow.load(undertow.example("text")),
}


def test_every_target_has_its_files():
    assert EXPECTED.keys() == PROJECTS.keys() == STUBS.keys() == {*export.TARGETS} - {"c"}


@pytest.mark.skipif(not DOCS.exists(), reason="needs the source tree")
def test_every_target_has_its_page():
    table = (DOCS / "embedded.md").read_text()
    commands = "".join(page.read_text() for page in DOCS.glob("boards/*.md"))
    for to in PROJECTS:
        assert f"| `{to}` |" in table and f"--to {to} --name" in commands, to


@pytest.mark.parametrize("to", PROJECTS)
@pytest.mark.parametrize("model", MODELS)
def test_a_project(tmp_path, to, model):
    paths = export.write(MODELS[model](), tmp_path, to, "m")
    assert {str(p.relative_to(tmp_path)) for p in paths} == EXPECTED[to] | {"README.md"}
    texts = {p: p.read_text() for p in paths}
    assert not any(
        "@" in text.replace("channel@0", "") for path, text in texts.items() if path.suffix not in (".c", ".h")
    )
    readme = (tmp_path / "README.md").read_text()
    assert "not, for" in readme or "were for Xtensa" in readme, "what could not be compiled is said"
    if to == "platformio":
        assert json.loads((tmp_path / "library.json").read_text())["name"] == "m"
    compiles(tmp_path, to)


def compiles(folder, to):
    example, headers = STUBS[to]
    command = shutil.which("g++" if example.endswith((".cpp", ".ino")) else "gcc")
    if not command:
        pytest.skip("needs a compiler of C and C++: apt install g++")
    for name, text in headers.items():
        (folder / "stubs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "stubs" / name).write_text(text.replace("\\n", "\n"))
    places = [f"-I{folder / p}" for p in ("stubs", "src", "include", ".", "components/m/include")]
    kind = ["-x", "c++", "-include", "Arduino.h"] if example.endswith(".ino") else []
    flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", *places, *kind]
    done = subprocess.run([command, *flags, str(folder / example)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_target_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of c, cortex-m, arduino"):
        export.write(undertow.example("digits"), tmp_path, "avr")
    assert not [*tmp_path.iterdir()]


def test_a_name_of_any_characters_is_quoted_by_no_format(tmp_path):
    graph = GRAPHS["gru"]()
    graph.name = 'a "quoted"\n*/ name: \\ # ${x}'
    export.write(Model.from_graph(graph), tmp_path, "platformio")
    assert json.loads((tmp_path / "library.json").read_text())["description"].startswith("a _quoted_ name_ _ _ _x_: ")


def test_what_somebody_has_changed_is_kept(tmp_path):
    """The model's files are of the model; those around them are the project's, once they are there."""
    export.write(undertow.example("digits"), tmp_path, "pico", "m")
    (tmp_path / "main.c").write_text("mine")
    before = (tmp_path / "m.c").read_text()
    written = export.write(undertow.load(undertow.example("digits"), weights="int8"), tmp_path, "pico", "m")
    assert (tmp_path / "main.c").read_text() == "mine" and tmp_path / "main.c" not in written
    assert (tmp_path / "m.c").read_text() != before


@pytest.mark.parametrize("to", PROJECTS)
def test_no_file_speaks_of_the_model_before(tmp_path, to):
    """README.md is undertow's; a file that is kept does not name a model."""
    first = undertow.load(undertow.example("digits"))
    export.write(first, tmp_path, to, "m")
    export.write(first.with_weights("int8"), tmp_path, to, "m")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and first.hash.hex() in p.read_text()]
    assert (tmp_path / "README.md").read_text().startswith("# m ")
    (tmp_path / "README.md").write_text("mine")
    assert tmp_path / "README.md" not in export.write(first, tmp_path, to, "m")
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("to", PROJECTS)
def test_a_model_is_called_as_no_other_file_of_its_project(tmp_path, monkeypatch, capsys, to):
    monkeypatch.chdir(tmp_path)
    used = {Path(path).name.partition(".")[0] for path in EXPECTED[to]} - {"m", "main"}
    used |= {header.partition("/")[0].partition(".")[0] for header in STUBS[to][1]}
    model = undertow.load(undertow.example("digits"))
    for name in [*used, *(word.swapcase() for word in used)]:
        with pytest.raises(ValueError, match="expected another, such as"):
            export.write(model, tmp_path / "project", to, name)
    assert main(["export", str(undertow.example("digits")), "--to", to, "--name", min(used)]) == 2
    assert f"--name: name is '{min(used)}', expected another, such as" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("to", PROJECTS)
def test_an_example_says_what_it_leaves_out(tmp_path, to):
    example = STUBS[to][0]
    texts = {}
    for name, make in MODELS.items():
        export.write(make(), tmp_path / name, to, "m")
        texts[name] = (tmp_path / name / example).read_text()
    assert "/* io.ids stays 0 here: fill it too */" in texts["zoo"]
    assert "/* the step fills io.log, io.rows as well */" in texts["zoo"]
    assert "io.valid[0] = 1.0f; /* 0 where" in texts["gated"] and "io.x[" in texts["gated"]
    assert "io.input[" in texts["text"] and " * 32.99f)" in texts["text"]  # 66 characters: -1 to 1 are 0 to 65
    assert "- 1.0f + 1.0f" not in texts["text"]
    assert "give io.input yours" in texts["text"]
    assert not any(word in texts["digits"] for word in ("stays 0", "as well", "yours"))


@pytest.mark.parametrize(
    ("rate", "kHz", "words"),
    [
        (None, 48, "the model does not say its rate"),
        (16000, 16, "as the model was made for"),
        (96000, 96, "as the model was made for"),
        (44100, 48, "THE MODEL WAS MADE FOR 44100 Hz"),
        (24000, 48, "THE MODEL WAS MADE FOR 24000 Hz"),
    ],
)
def test_a_daisy_runs_at_the_rate_of_the_model(tmp_path, rate, kHz, words):
    graph = GRAPHS["gru"]()
    graph.sample_rate = rate
    export.write(Model.from_graph(graph), tmp_path, "daisy", "m")
    for name in ("main.cpp", "README.md"):
        assert words in (tmp_path / name).read_text()
    assert f"SAI_{kHz}KHZ);" in (tmp_path / "main.cpp").read_text()
    assert f"are {480_000 // kHz:,} cycles" in (tmp_path / "README.md").read_text()
    compiles(tmp_path, "daisy")


def test_another_model_of_the_same_name_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def exported(*options):
        assert main(["export", str(undertow.example("digits")), *options]) == 0
        return capsys.readouterr().out

    assert "these replace" not in exported()
    assert "these replace" not in exported()
    first = undertow.load(undertow.example("digits")).hash.hex()
    assert json.loads(exported("--json"))["replaced"] == first
    assert f"these replace model {first}; give --name or -o to keep several" in exported("--weights", "int8")
    assert json.loads(exported("--json", "--name", "other"))["replaced"] is None
    (tmp_path / "digits-c" / "digits.c").write_text("int mine;")
    assert main(["export", str(undertow.example("digits"))]) == 3
    assert "undertow did not write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "component"),
    [("5.0", "driver"), ("5.2", "driver"), ("5.10", "esp_driver_i2s"), ("6.0", "esp_driver_i2s")],
)
def test_i2s_is_where_each_version_of_idf_has_it(tmp_path, version, component):
    if not shutil.which("cmake"):
        pytest.skip("needs cmake: apt install cmake")
    export.write(undertow.example("digits"), tmp_path, "esp-idf", "m")
    stub = 'function(idf_component_register)\n  message(NOTICE "${ARGN}")\nendfunction()\n'
    (tmp_path / "try.cmake").write_text(f"{stub}include({tmp_path.as_posix()}/main/CMakeLists.txt)\n")
    major, minor = version.split(".")
    command = ["cmake", f"-DIDF_VERSION_MAJOR={major}", f"-DIDF_VERSION_MINOR={minor}", "-P", tmp_path / "try.cmake"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == f"SRCS;main.c;REQUIRES;{component};m"


@pytest.mark.parametrize("pin", ["", "NRF_SAADC_AIN0"])
def test_an_nrf_has_a_pin(tmp_path, pin):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: apt install gcc")
    export.write(undertow.example("digits"), tmp_path, "zephyr", "m")
    command = [
        "gcc",
        "-E",
        "-P",
        "-x",
        "assembler-with-cpp",
        tmp_path / "app/app.overlay",
        *([f"-D{pin}=0"] if pin else []),
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("zephyr,input-positive = <0>;" in text) == bool(pin) and "zephyr,resolution = <12>;" in text


def test_advice_is_of_the_precision_that_boards_want(tmp_path):
    """What docs/boards say: fixed8 without an FPU, int16 with one."""
    for to in ("pico", "esp-idf"):
        export.write(undertow.load(undertow.example("digits"), weights="fixed8"), tmp_path / to, to, "m")
        text = (tmp_path / to / "README.md").read_text()
        assert "fixed8" in text and "int16" in text and "int8" not in text


def needs_programs_of_arm():
    for program in ("make", "arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: apt install make gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm")


def test_other_flags_are_another_firmware(tmp_path):
    """Each core of README.md, whatever was built before, on a board of QEMU's that has it."""
    needs_programs_of_arm()
    export.write(undertow.example("digits"), tmp_path, "cortex-m", "m")
    table = re.findall(r"^\| Cortex-(M\S+?),? .*\| `(-mcpu=[^`]+)`", (tmp_path / "README.md").read_text(), re.M)
    assert [name for name, _ in table] == ["M0", "M3", "M4F", "M7", "M33", "M55", "M85"]
    said = set()
    for name, flags in table:
        if name == "M85" and "cortex-m85" not in said_by(["arm-none-eabi-gcc", "--target-help"]):
            continue
        command = ["make", "-s", "-C", str(tmp_path), "run", f"CPU={flags}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and len(done.stdout.split()) == 30, (name, done)
        said.add(done.stdout)
        attributes = said_by(["arm-none-eabi-readelf", "-A", str(tmp_path / "m_qemu.elf")])
        assert ("Tag_MVE_arch" in attributes) == (name in ("M55", "M85")), name
    assert len(said) == 1
    again = subprocess.run(["make", "-q", "-C", str(tmp_path), "m_qemu.elf", f"CPU={table[-2][1]}"])
    assert again.returncode == 0, "it links what it has"


def said_by(command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_memory_without_room_for_the_stack_is_no_firmware(tmp_path):
    needs_programs_of_arm()
    export.write(undertow.example("digits"), tmp_path, "cortex-m", "m")
    board = (tmp_path / "board.ld").read_text()
    for size, status in (("2K", 0), ("1K", 2)):
        (tmp_path / "board.ld").write_text(board.replace("LENGTH = 512K", f"LENGTH = {size}"))
        done = subprocess.run(["make", "-C", str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert "no room for a stack of stack_size bytes: see board.ld" in done.stderr


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cpu", ["", "-mcpu=cortex-m0plus"], ids=["cortex-m4f", "cortex-m0plus"])
def test_a_firmware_gives_the_bits_of_python(tmp_path, model, cpu):
    """Three steps under QEMU, of the numbers that main.c makes."""
    needs_programs_of_arm()
    model = MODELS[model]()
    export.write(model, tmp_path, "cortex-m", "m")
    command = ["make", "-s", "-C", str(tmp_path), *([f"CPU={cpu}"] if cpu else [])]
    linked = subprocess.run([*command, "CFLAGS=-std=c99 -Os -Wall -Wextra -Werror"], capture_output=True, text=True)
    assert linked.returncode == 0 and not linked.stderr, linked.stderr
    done = subprocess.run([*command, "run"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr

    frames = {name: np.zeros((3, *v.shape), np.dtype(v.dtype)) for name, v in model.inputs.items()}
    first = next((n for n, v in model.inputs.items() if v.dtype == "float32" and n != "valid"), next(iter(frames)))
    heard = (np.arange(frames[first].size, dtype=np.float32) % 17 / 8 - 1).reshape(frames[first].shape)
    if n_ids := model.inputs[first].n_ids:
        heard = (heard + np.float32(1)) * np.float32((n_ids - 0.02) / 2)
    frames[first] = heard.astype(frames[first].dtype)
    if "valid" in frames:
        frames["valid"] += 1
    stream, outputs = model.stream(), []
    for t in range(3):
        given = {name: frame[t] for name, frame in frames.items()}
        y = stream.step(given if len(given) > 1 else given[first])
        outputs.append(np.ravel(next(iter(y.values())) if isinstance(y, dict) else y))
    expected = [" ".join(f"{bits:08x}" for bits in y.view(np.uint32)) for y in outputs]
    assert done.stdout.splitlines() == expected
