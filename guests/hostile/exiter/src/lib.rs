//! Exits, as a program would, with code 3 and without an answer.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(exiter);
fn exiter(_: Data) {
    std::process::exit(3);
}
