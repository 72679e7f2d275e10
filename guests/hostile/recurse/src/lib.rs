//! Calls itself without end. `/recurse` runs out of the engine's stack of calls;
//! `/recurse/memory` has large local variables and so runs out of the stack in its memory first.

#![expect(unconditional_recursion, reason = "that is the point")]

use std::hint::black_box;

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, invoke};

fn deeper(depth: u64) -> u64 {
    black_box(deeper(black_box(depth + 1))) + 1
}

fn wider(depth: u64) -> u64 {
    let locals = black_box([depth; 1024]);
    wider(locals[0] + 1) + black_box(locals)[1]
}

invoke!(recurse);
fn recurse(_: Data) -> String {
    let depth = match WebEnvironment::load().http_path() {
        "memory" => wider(0),
        _ => deeper(0),
    };
    depth.to_string()
}
