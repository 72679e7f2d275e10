//! Prints to standard output without end.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(stdout_flood);
fn stdout_flood(_: Data) {
    loop {
        println!("water");
    }
}
