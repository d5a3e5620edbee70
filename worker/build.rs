//! Lets `sweep-trainer` find libtorch at run time without LD_LIBRARY_PATH, and keeps the CUDA library linked.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return; // Built without the `torch` feature.
    };
    let link = |argument: &str| println!("cargo:rustc-link-arg-bin=sweep-trainer={argument}");
    link(&format!("-Wl,-rpath,{lib}"));
    // The trainer's own tests link libtorch as well.
    println!("cargo:rustc-link-arg-tests=-Wl,-rpath,{lib}");
    // Linkers drop a library from which no symbol is taken by name; CUDA kernels register themselves when
    // libtorch_cuda is loaded, so it has to stay.
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        link("-Wl,--no-as-needed");
        link("-ltorch_cuda");
        link("-ltorch");
        link("-Wl,--as-needed");
    }
}
