//! Takes memory, a mebibyte at a time, until there is no more. Rust aborts then, which is a trap.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(memory_bomb);
fn memory_bomb(_: Data) {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}
