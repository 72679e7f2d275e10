//! Never ends, and never calls the host either.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(spin);
fn spin(_: Data) {
    loop {
        std::hint::spin_loop();
    }
}
