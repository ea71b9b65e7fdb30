// SPDX-License-Identifier: MIT
// undertow._core.Model: a loaded model, its description, and whole-sequence runs. No arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "errors.h"
#include "system.h"
#include "undertow.h"

namespace py = pybind11;

namespace {

// Large blocks ask for huge pages: a step reads every weight once, and would otherwise miss the TLB every 4 KiB.
Memory room_for(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t align = bytes >= 2 * kHugePage ? kHugePage : size_t{UT_ALIGN};
  Memory p(aligned_memory(align, bytes));
  if (!p) throw std::bad_alloc();
  if (align == kHugePage) advise_huge_pages(p.get(), bytes);
  return p;
}

py::str text(const ut_string& s) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(s.data, static_cast<Py_ssize_t>(s.size), "replace"));
}

py::tuple shape_of(const ut_tensor& t) {
  py::tuple dims(t.n_dims);
  for (uint32_t i = 0; i < t.n_dims; ++i) dims[i] = t.dims[i];
  return dims;
}

// (name, shape, dtype, once, n_ids or None)
py::tuple describe(const ut_tensor& t) {
  const char* dtype = t.dtype == UT_INT32 ? "int32" : "float32";
  py::object n_ids = py::none();
  if (t.dtype == UT_INT32) n_ids = py::int_(t.n_ids);
  return py::make_tuple(text(t.name), shape_of(t), dtype, t.once != 0, n_ids);
}

// Asked during a long run, without the GIL: whether a handler of signals has raised something, which then waits to be thrown.
class Signals {
 public:
  static int look(void* context) {
    Signals& self = *static_cast<Signals*>(context);
    const Clock::time_point now = Clock::now();
    if (!self.raised_ && now - self.looked_ > std::chrono::milliseconds(40)) {
      const py::gil_scoped_acquire acquire;
      self.raised_ = PyErr_CheckSignals() != 0;
      self.looked_ = Clock::now();
    }
    return self.raised_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point looked_ = Clock::now();
  bool raised_ = false;
};

// Bytes that somebody else owns, kept from being given back, but not from being changed.
class Buffer {
 public:
  explicit Buffer(const py::object& owner) {
    if (PyObject_GetBuffer(owner.ptr(), &view_, PyBUF_C_CONTIGUOUS) == 0) return;
    if (!PyObject_CheckBuffer(owner.ptr())) throw py::error_already_set();
    PyErr_Clear();  // what it is depends on the owner's class
    throw py::buffer_error("a .tow file must be the bytes of a buffer, one after the other (C-contiguous); try np.ascontiguousarray");
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  const void* data() const { return view_.buf; }
  size_t size() const { return static_cast<size_t>(view_.len); }
  bool read_only() const { return view_.readonly != 0; }
  void release() { PyBuffer_Release(&view_); }

 private:
  Py_buffer view_ = {};
};

class Model {
 public:
  // in_place: use weights where they lie, if the buffer is read-only and aligned: a mapped file. That does not keep others
  // from changing them.
  Model(const py::object& blob, const std::optional<std::string>& isa, bool in_place) : view_(blob), n_(view_.size()) {
    const void* bytes = view_.data();
    mapped_ = in_place && view_.read_only() && reinterpret_cast<uintptr_t>(bytes) % UT_ALIGN == 0;
    if (!mapped_) {
      copy_ = room_for(n_);
      if (n_ != 0) std::memcpy(copy_.get(), bytes, n_);
      bytes = copy_.get();
      view_.release();
    }
    const char* want = isa ? isa->c_str() : nullptr;
    ut_error err = {};
    check(ut_probe(bytes, n_, want, &info_, &err), err);
    const size_t size = mapped_ ? info_.mapped_bytes : info_.model_bytes;
    memory_ = room_for(size);
    check((mapped_ ? ut_model_init_mapped : ut_model_init)(memory_.get(), size, bytes, n_, want, &model_, &err), err);
    ut_model_info(model_, &info_);
    blob_ = static_cast<const char*>(bytes);
  }

  const ut_model* get() const { return model_; }
  bool mapped() const { return mapped_; }
  py::str name() const { return text(ut_model_name(model_)); }
  py::str source() const { return text(ut_model_source(model_)); }
  py::buffer_info buffer() const {
    return py::buffer_info(const_cast<char*>(blob_), 1, "B", 1, {static_cast<py::ssize_t>(n_)}, {1}, true);
  }

  py::dict info() const {
    py::dict d;
    d["model_bytes"] = mapped_ ? info_.mapped_bytes : info_.model_bytes;
    d["stream_bytes"] = info_.stream_bytes;
    d["step_bytes"] = info_.step_bytes;
    d["state_bytes"] = info_.state_bytes;
    d["scratch_bytes"] = info_.scratch_bytes;
    d["snapshot_bytes"] = info_.snapshot_bytes;
    d["streamable"] = info_.streamable != 0;
    d["latency"] = info_.latency;
    d["block"] = info_.block;
    d["hash"] = py::bytes(reinterpret_cast<const char*>(info_.hash), sizeof info_.hash);
    d["isa"] = info_.isa;
    d["multiply_adds"] = info_.multiply_adds;
    d["bytes_per_step"] = info_.bytes_per_step;
    d["file_bytes"] = n_;
    d["version"] = info_.version;
    d["frames_in"] = info_.frames_in;
    d["frames_out"] = info_.frames_out;
    d["sample_rate"] = info_.sample_rate;
    return d;
  }

  py::list inputs() const { return list(info_.n_inputs, ut_input); }
  py::list outputs() const { return list(info_.n_outputs, ut_output); }
  py::list states() const { return list(info_.n_states, ut_state); }

  // Inputs and states come checked from model.py; here once more, that nothing beyond an array is read.
  py::tuple run_sequence(const std::vector<py::array>& inputs, size_t n_frames, size_t length,
                         const std::vector<std::optional<py::array>>& states) const {
    if (inputs.size() != info_.n_inputs || states.size() != info_.n_states || length > n_frames || n_frames > SIZE_MAX >> 28)
      throw py::value_error("run_sequence: wrong number of inputs, states or frames");
    std::vector<const void*> x;
    for (uint32_t i = 0; i < info_.n_inputs; ++i) {
      if (!holds(inputs[i], n_frames * ut_input(model_, i).size)) throw py::value_error("run_sequence: an input does not fit");
      x.push_back(inputs[i].data());
    }
    std::vector<const float*> start;
    for (uint32_t i = 0; i < info_.n_states; ++i) {
      if (states[i] && !holds(*states[i], ut_state(model_, i).size)) throw py::value_error("run_sequence: a state does not fit");
      start.push_back(states[i] ? static_cast<const float*>(states[i]->data()) : nullptr);
    }
    std::vector<py::array> outputs;
    std::vector<py::array_t<float>> finals;
    std::vector<void*> y;
    std::vector<float*> end;
    for (uint32_t i = 0; i < info_.n_outputs; ++i) {
      const ut_tensor t = ut_output(model_, i);
      std::vector<py::ssize_t> shape;
      if (!t.once) shape.push_back(static_cast<py::ssize_t>(n_frames));
      for (uint32_t k = 0; k < t.n_dims; ++k) shape.push_back(t.dims[k]);
      outputs.emplace_back(t.dtype == UT_INT32 ? py::dtype::of<int32_t>() : py::dtype::of<float>(), shape);
      y.push_back(outputs.back().mutable_data());
    }
    for (uint32_t i = 0; i < info_.n_states; ++i) {
      const ut_tensor t = ut_state(model_, i);
      finals.emplace_back(std::vector<py::ssize_t>(t.dims, t.dims + t.n_dims));
      end.push_back(finals.back().mutable_data());
    }
    const size_t bytes = ut_sequence_bytes(model_, n_frames);
    if (bytes == 0) throw std::bad_alloc();
    Signals signals;
    ut_status status;
    {
      const py::gil_scoped_release release;
      const Memory memory = room_for(bytes);
      status = ut_sequence_run_until(memory.get(), bytes, model_, n_frames, length, start.data(), x.data(), y.data(), end.data(),
                                     Signals::look, &signals);
    }
    if (status == UT_E_STOPPED) throw py::error_already_set();
    check(status, ut_error{});
    return py::make_tuple(outputs, finals);
  }

  // Of each sequence its inputs and its outputs, the longest first; false where sequences of this model do not go side by
  // side.
  bool run_sequences(const std::vector<std::vector<py::array>>& sequences, const std::vector<size_t>& lengths,
                     std::vector<std::vector<py::array>> outputs) const {
    const size_t bytes = lengths.empty() ? 0 : ut_sequences_bytes(model_, lengths.size(), lengths[0]);
    if (bytes == 0) return false;
    std::vector<const void*> x;
    std::vector<void*> y;
    if (sequences.size() != lengths.size() || outputs.size() != lengths.size())
      throw py::value_error("run_sequences: wrong number of sequences");
    for (size_t k = 0; k < lengths.size(); ++k) {
      if (sequences[k].size() != info_.n_inputs || outputs[k].size() != info_.n_outputs || lengths[k] > lengths[k ? k - 1 : 0] ||
          lengths[k] > SIZE_MAX >> 28)
        throw py::value_error("run_sequences: wrong number of inputs, outputs or frames");
      for (uint32_t i = 0; i < info_.n_inputs; ++i) {
        if (!holds(sequences[k][i], lengths[k] * ut_input(model_, i).size))
          throw py::value_error("run_sequences: an input does not fit");
        x.push_back(sequences[k][i].data());
      }
      for (uint32_t i = 0; i < info_.n_outputs; ++i) {
        const ut_tensor t = ut_output(model_, i);
        if (!holds(outputs[k][i], t.once ? t.size : lengths[k] * t.size))
          throw py::value_error("run_sequences: an output does not fit");
        y.push_back(outputs[k][i].mutable_data());
      }
    }
    Signals signals;
    ut_status status;
    {
      const py::gil_scoped_release release;
      const std::unique_lock<std::mutex> kept(room_lock_, std::try_to_lock);
      Memory own;
      if (!kept.owns_lock() || bytes > kRoom) own = room_for(bytes);
      if (!own && room_bytes_ < bytes) {
        room_ = room_for(bytes);
        room_bytes_ = bytes;
      }
      void* memory = own ? own.get() : room_.get();
      status = ut_sequences_run(memory, bytes, model_, lengths.size(), lengths.data(), nullptr, x.data(), y.data(), Signals::look,
                                &signals);
    }
    if (status == UT_E_STOPPED) throw py::error_already_set();
    check(status, ut_error{});
    return true;
  }

  py::capsule capsule() const { return py::capsule(model_, "undertow.model.1"); }

 private:
  static bool holds(const py::array& a, size_t n) {
    return a.itemsize() == 4 && static_cast<size_t>(a.size()) == n && (a.flags() & py::array::c_style) != 0;
  }

  template <class F>
  py::list list(uint32_t n, const F& describe_one) const {
    py::list out;
    for (uint32_t i = 0; i < n; ++i) out.append(describe(describe_one(model_, i)));
    return out;
  }

  // Memory of sequences side by side that one call leaves to the next, for the system takes a while to make as much anew.
  static constexpr size_t kRoom = size_t{8} << 20;
  mutable std::mutex room_lock_;
  mutable Memory room_;
  mutable size_t room_bytes_ = 0;

  Buffer view_;  // keeps a mapped file open
  Memory copy_, memory_;
  bool mapped_ = false;
  const ut_model* model_ = nullptr;
  const char* blob_ = nullptr;
  size_t n_ = 0;
  ut_info info_ = {};
};

}  // namespace

void register_model(py::module_& m) {
  // Its buffer is the .tow file; a memoryview of it keeps the model.
  py::class_<Model>(m, "Model", py::buffer_protocol())
      .def_buffer(&Model::buffer)
      .def(py::init<const py::object&, const std::optional<std::string>&, bool>(), py::arg("blob"), py::arg("isa") = py::none(),
           py::arg("in_place") = true)
      .def_property_readonly("info", &Model::info)
      .def_property_readonly("inputs", &Model::inputs)
      .def_property_readonly("outputs", &Model::outputs)
      .def_property_readonly("states", &Model::states)
      .def_property_readonly("mapped", &Model::mapped)
      .def_property_readonly("name", &Model::name)
      .def_property_readonly("source", &Model::source)
      .def("run_sequence", &Model::run_sequence)
      .def("run_sequences", &Model::run_sequences)
      .def("capsule", &Model::capsule);  // valid while this Model lives: whoever takes it keeps the Model
}
