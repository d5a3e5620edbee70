// What libtorch can do and tch has no call for. Nothing is thrown across the border: an exception becomes a message that
// the caller owns and gives back to sweep_free.

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_sgd.h>

#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

namespace {

// nullptr where `work` succeeds, otherwise its exception's message.
template <typename Work>
char *message_of(Work work) {
    try {
        work();
        return nullptr;
    } catch (const std::exception &error) {
        return strdup(error.what());
    } catch (...) {
        return strdup("an exception of an unknown kind");
    }
}

std::vector<at::Tensor> list_of(const at::Tensor *const *tensors, size_t count) {
    std::vector<at::Tensor> list;
    list.reserve(count);
    for (size_t at = 0; at < count; ++at) {
        list.push_back(*tensors[at]);
    }
    return list;
}

} // namespace

extern "C" {

void sweep_free(char *message) { free(message); }

// One step of SGD with momentum on `count` parameters, in place. The caller has switched gradients off.
char *sweep_fused_sgd(const at::Tensor *const *parameters, const at::Tensor *const *gradients,
                      const at::Tensor *const *velocities, size_t count, double lr, double momentum,
                      double weight_decay) {
    return message_of([&] {
        auto updated = list_of(parameters, count), moved = list_of(velocities, count);
        auto given = list_of(gradients, count);
        at::_fused_sgd_(updated, given, moved, weight_decay, momentum, lr, /*dampening=*/0.0,
                        /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
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

// Lets the allocator keep what is freed: batches take tens of megabytes again and again, and fresh pages cost more than
// the arithmetic on them. False where the C library refuses.
bool sweep_keep_memory() {
    const int never = 0, most = 1 << 30;
    return mallopt(M_MMAP_MAX, never) == 1 && mallopt(M_TRIM_THRESHOLD, most) == 1;
}
}
