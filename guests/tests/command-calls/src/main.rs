//! A command that does what its arguments say: one verb, and what it needs.

use std::env;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::process::{ExitCode, exit};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let operand = arguments.get(2).map_or("", String::as_str);
    let mut output = io::stdout().lock();
    match arguments.get(1).map_or("arguments", String::as_str) {
        "arguments" => write!(output, "{arguments:?}")?,
        "variables" => {
            for (name, value) in env::vars_os() {
                write!(output, "{name:?} {value:?}\n")?;
            }
        }
        // exits in the middle, with all that was written before
        "exit" => {
            output.write_all(b"written before")?;
            output.flush()?;
            exit(operand.parse()?);
        }
        "error" => Err("an error of main")?,
        "panic" => panic!("nothing goes on"),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "sleep" => sleep(Duration::from_millis(operand.parse()?)),
        // `operand` bytes in pieces of 64 KiB
        "write" => {
            let (piece, mut left) = (vec![b'x'; 65536], operand.parse::<usize>()?);
            while left > 0 {
                left -= output.write(&piece[..left.min(piece.len())])?;
            }
        }
        // one byte in each call
        "drip" => {
            for _ in 0..operand.parse::<usize>()? {
                output.write_all(b"\n")?;
            }
        }
        // the first `operand` bytes of standard input, and nothing of the rest
        "head" => {
            let mut found = vec![0; operand.parse()?];
            io::stdin().read_exact(&mut found)?;
            output.write_all(&found)?;
        }
        "stderr" => {
            io::copy(&mut io::stdin(), &mut io::stderr())?;
        }
        "clock" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            write!(output, "{}", now.as_secs())?;
        }
        // each line of standard input is a verb and a path
        "files" => {
            for line in io::stdin().lines() {
                let line = line?;
                let (verb, path) = line.split_once(' ').ok_or("a verb and a path")?;
                match file(verb, path) {
                    Ok(found) => writeln!(output, "{found}")?,
                    Err(error) => writeln!(output, "{:?}", error.kind())?,
                }
            }
        }
        other => Err(format!("there is no verb {other:?}"))?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn file(verb: &str, path: &str) -> io::Result<String> {
    Ok(match verb {
        "read" => fs::read_to_string(path)?,
        "length" => fs::read(path)?.len().to_string(),
        "list" => {
            let names: io::Result<Vec<_>> = fs::read_dir(path)?.map(|found| Ok(found?.file_name())).collect();
            let mut names = names?;
            names.sort();
            format!("{names:?}")
        }
        "stat" => {
            let found = fs::metadata(path)?;
            format!("{} {} {}", found.is_file(), found.is_dir(), found.len())
        }
        "seek" => {
            let mut file = File::open(path)?;
            let mut last = String::new();
            file.seek(SeekFrom::End(-3))?;
            file.read_to_string(&mut last)?;
            file.seek(SeekFrom::Start(0))?;
            let mut first = [0; 2];
            file.read_exact(&mut first)?;
            format!("{last} {} {}", first.escape_ascii(), file.stream_position()?)
        }
        "write" => fs::write(path, b"new").map(|()| "written".to_string())?,
        "append" => OpenOptions::new().append(true).open(path).map(|_| "opened".to_string())?,
        "update" => {
            let mut file = OpenOptions::new().read(true).open(path)?;
            file.write_all(b"new").map(|()| "written".to_string())?
        }
        "remove" => fs::remove_file(path).map(|()| "removed".to_string())?,
        "make" => fs::create_dir(path).map(|()| "made".to_string())?,
        "rename" => fs::rename(path, "/elsewhere").map(|()| "renamed".to_string())?,
        other => Err(io::Error::other(format!("there is no verb {other:?}")))?,
    })
}
