//! Lets what links libtorch find it at run time without LD_LIBRARY_PATH, keeps the CUDA library linked, and hands
//! libtorch's version to the trainer, which writes it into every record.

use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return; // Built without the `torch` feature.
    };
    let lib = Path::new(&lib);
    #[cfg(feature = "torch")]
    compile_native(lib);
    // Unit tests take only arguments that are meant for every target.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-env=SWEEP_LIBTORCH_VERSION={}", libtorch_version(lib));
    // Linkers drop a library from which no symbol is taken by name; CUDA kernels register themselves when
    // libtorch_cuda is loaded, so it has to stay.
    if lib.join("libtorch_cuda.so").exists() {
        for argument in ["-Wl,--no-as-needed", "-ltorch_cuda", "-ltorch", "-Wl,--as-needed"] {
            println!("cargo:rustc-link-arg-bin=sweep-trainer={argument}");
        }
    }
}

/// Compiles what tch has no call for against the headers beside `lib`.
#[cfg(feature = "torch")]
fn compile_native(lib: &Path) {
    println!("cargo:rerun-if-changed=native/libtorch.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(lib.parent().unwrap_or(lib).join("include"))
        .flag_if_supported("-Wno-unused-parameter")
        .file("native/libtorch.cpp")
        .compile("sweep_native");
    // After the archive, since linkers look in this order for what it needs.
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
}

/// The version as the Python package (`version.py`) or the C++ archive (`build-version`) beside `lib` states it.
fn libtorch_version(lib: &Path) -> String {
    let root = lib.parent().unwrap_or(lib);
    let (python, archive) = (root.join("version.py"), root.join("build-version"));
    println!("cargo:rerun-if-changed={}", if python.exists() { python.display() } else { archive.display() });
    if let Ok(text) = std::fs::read_to_string(python) {
        let stated = text.lines().find_map(|line| line.strip_prefix("__version__ = '"));
        return stated.map_or("unknown", |rest| rest.trim_end_matches('\'')).to_owned();
    }
    std::fs::read_to_string(archive).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
