// What libtorch can do and tch has no call for. Nothing is thrown across the border: an exception becomes a message that
// the caller gives back to sweep_free.

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace {

char no_message[] = "libtorch failed, and there was no memory to say how";

char *copy_of(const char *text) {
    char *copy = strdup(text);
    return copy == nullptr ? no_message : copy;
}

// nullptr where `work` succeeds, otherwise its exception's message.
template <typename Work>
char *message_of(Work work) {
    try {
        work();
        return nullptr;
    } catch (const std::exception &error) {
        return copy_of(error.what());
    } catch (...) {
        return copy_of("an exception of an unknown kind");
    }
}

// Whether numbers that belong together have the same place in memory; sides of length 1 have no say.
bool lies_alike(const at::Tensor &one, const at::Tensor &other) {
    for (int64_t side = 0; side < one.dim(); ++side) {
        if (one.size(side) > 1 && one.stride(side) != other.stride(side)) {
            return false;
        }
    }
    return true;
}

// The numbers of a tensor that lies in one piece, in the order of memory.
at::Tensor flat(const at::Tensor &tensor) { return tensor.as_strided({tensor.numel()}, {1}); }

// Memory for tensors that keeps large blocks which are freed and hands them out again. A step of training takes the same few
// hundred megabytes as the one before; from the C library it would get fresh pages each time, and their faults cost a third of
// the time of a small network. (The C library can be told to keep pages too, but then its heap grows, in pieces that fit
// nothing, to several times of what is used.) What is kept and what is used together stay below the most that a job used and
// a quarter.
class Keeping final : public c10::Allocator {
  public:
    c10::DataPtr allocate(size_t bytes) override {
        void *data = bytes == 0 ? nullptr : take(bytes);
        return {data, data, &Keeping::free_block, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &Keeping::free_block; }
    // The blocks that the last job kept stay as long as this one takes the same ones.
    static void begin_job() {
        auto &all = shared();
        const std::lock_guard lock(all.mutex);
        all.most_used_bytes = all.used_bytes;
    }
    void copy_data(void *target, const void *source, size_t bytes) const override {
        default_copy_data(target, source, bytes);
    }

  private:
    // Smaller blocks are what the C library is good at.
    static constexpr size_t large = 1 << 20;
    // libtorch's own alignment; the block's size stands in the line before its data.
    static constexpr size_t line = 64;

    struct Shared {
        std::mutex mutex;
        std::multimap<size_t, char *> kept;
        size_t kept_bytes = 0, used_bytes = 0, most_used_bytes = 0;

        void use(size_t size) {
            used_bytes += size;
            most_used_bytes = std::max(most_used_bytes, used_bytes);
        }

        // False where nothing is kept.
        bool give_back_largest() {
            if (kept.empty()) {
                return false;
            }
            const auto largest = std::prev(kept.end());
            kept_bytes -= largest->first;
            free(largest->second);
            kept.erase(largest);
            return true;
        }
    };
    static Shared &shared() {
        static auto *only = new Shared;
        return *only;
    }

    static void *take(size_t bytes) {
        // Rounded up it would not fit into a number.
        const bool is_possible = bytes <= PTRDIFF_MAX;
        const size_t size = (bytes + line - 1) / line * line;
        char *block = !is_possible ? nullptr : size < large ? fresh(size) : take_large(size);
        // The words by which the trainer knows that memory ran out.
        TORCH_CHECK(block != nullptr, "can't allocate memory: you tried to allocate ", bytes, " bytes");
        return block + line;
    }

    static char *take_large(size_t size) {
        auto &all = shared();
        const std::lock_guard lock(all.mutex);
        const auto fitting = all.kept.lower_bound(size);
        if (fitting != all.kept.end() && fitting->first <= size + size / 8) {
            char *block = fitting->second;
            all.kept_bytes -= fitting->first;
            all.use(fitting->first);
            all.kept.erase(fitting);
            return block;
        }
        const size_t used = all.used_bytes + size, most = std::max(all.most_used_bytes, used) / 4 * 5;
        while (used + all.kept_bytes > most && all.give_back_largest()) {
        }
        char *block = fresh(size);
        while (block == nullptr && all.give_back_largest()) {
            block = fresh(size);
        }
        if (block != nullptr) {
            all.use(size);
        }
        return block;
    }

    static char *fresh(size_t size) {
        void *block = nullptr;
        if (posix_memalign(&block, line, size + line) != 0) {
            return nullptr;
        }
        *static_cast<size_t *>(block) = size;
        return static_cast<char *>(block);
    }

    static void free_block(void *data) {
        if (data == nullptr) {
            return;
        }
        char *block = static_cast<char *>(data) - line;
        const size_t size = *reinterpret_cast<size_t *>(block);
        if (size < large) {
            free(block);
            return;
        }
        auto &all = shared();
        const std::lock_guard lock(all.mutex);
        all.used_bytes -= size;
        try {
            all.kept.emplace(size, block);
            all.kept_bytes += size;
        } catch (const std::bad_alloc &) {
            free(block);
        }
    }
};

} // namespace

extern "C" {

void sweep_free(char *message) {
    if (message != no_message) {
        free(message);
    }
}

// One step of SGD with momentum on `count` parameters, in place. The caller has switched gradients off.
char *sweep_fused_sgd(const at::Tensor *const *parameters, const at::Tensor *const *gradients,
                      const at::Tensor *const *velocities, size_t count, double lr, double momentum,
                      double weight_decay) {
    return message_of([&] {
        std::vector<at::Tensor> updated, given, moved;
        for (size_t at = 0; at < count; ++at) {
            const at::Tensor &parameter = *parameters[at];
            // The kernel walks through memory and does not look at strides, so all three must lie alike; and what lies flat
            // it need not copy first.
            TORCH_CHECK(parameter.is_non_overlapping_and_dense(), "a parameter does not lie in one piece");
            const at::Tensor &gradient = *gradients[at];
            updated.push_back(flat(parameter));
            given.push_back(flat(lies_alike(parameter, gradient) ? gradient
                                                                 : at::empty_like(parameter).copy_(gradient)));
            // Without momentum libtorch wants no velocities.
            if (momentum != 0.0) {
                TORCH_CHECK(lies_alike(parameter, *velocities[at]), "a velocity lies otherwise than its parameter");
                moved.push_back(flat(*velocities[at]));
            }
        }
        at::_fused_sgd_(updated, given, moved, weight_decay, momentum, lr, /*dampening=*/0.0,
                        /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
    });
}

// `tensor`, which lies in the host's memory, on a GPU; the copy joins the GPU's queue. The caller owns `uploaded`.
char *sweep_upload(const at::Tensor *tensor, int gpu, at::Tensor **uploaded) {
    return message_of([&] {
        const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
        // From ordinary memory the copy would wait for all that is queued.
        *uploaded = new at::Tensor(tensor->pin_memory().to(device, /*non_blocking=*/true));
    });
}

// Whether float32 products on a GPU may drop mantissa bits, and whether its kernels must give the same bits twice.
char *sweep_set_numerics(bool allow_tf32, bool deterministic) {
    return message_of([&] {
        auto &context = at::globalContext();
        context.setAllowTF32CuBLAS(allow_tf32);
        context.setAllowTF32CuDNN(allow_tf32);
        context.setDeterministicCuDNN(deterministic);
        context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
        // Kernels are timed once per shape, and shapes repeat for a whole job; which is fastest is a matter of chance.
        context.setBenchmarkCuDNN(!deterministic);
    });
}

// Tensors take their memory from `Keeping` from now on.
char *sweep_keep_memory() {
    return message_of([] {
        static auto *keeping = new Keeping; // Never destroyed: tensors may outlive everything else at exit.
        c10::SetCPUAllocator(keeping, /*priority=*/1);
    });
}

// What was used before counts no longer for how much may be kept.
char *sweep_begin_job() {
    return message_of([] { Keeping::begin_job(); });
}
}
