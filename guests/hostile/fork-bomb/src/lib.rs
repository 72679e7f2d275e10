//! Starts itself twice. Deployed as `fork-bomb`, one start becomes as many as the host lets run.

use momento_functions_bytes::Data;
use momento_functions_guest_spawn::spawn;
use momento_functions_spawn::SpawnError;

spawn!(fork_bomb);
fn fork_bomb(_: Data) -> Result<(), SpawnError> {
    momento_functions_spawn::spawn("fork-bomb", "left")?;
    momento_functions_spawn::spawn("fork-bomb", "right")
}
