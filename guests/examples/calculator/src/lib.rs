//! A guest with an interface of its own, and nothing of Momento's: the host calls its functions,
//! and it calls the host's, as `wit/calculator.wit` describes them.

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "calculator" });
}

use bindings::example::calculator::paper::Tape;
use bindings::example::calculator::rates::{RateError, rate};
use bindings::{Guest, Mistake, Operator, Specimen, Style, Summary, Word};

struct Calculator;
bindings::export!(Calculator with_types_in bindings);

impl Guest for Calculator {
    fn convert(amount: f64, currency: String) -> Result<f64, String> {
        match rate(&currency) {
            Ok(rate) => Ok(amount * rate),
            Err(RateError::UnknownCurrency(name)) => Err(format!("there is no currency {name}")),
            Err(RateError::Closed) => Err("the bank is closed".into()),
        }
    }

    fn evaluate(words: Vec<Word>) -> Result<f64, Mistake> {
        let mut stack = Vec::new();
        for word in words {
            let value = match word {
                Word::Number(value) => value,
                Word::Operator(operator) => match (stack.pop(), stack.pop()) {
                    (Some(right), Some(left)) => apply(operator, left, right)?,
                    _ => return Err(Mistake::MissingOperand(operator)),
                },
            };
            stack.push(value);
        }
        match stack[..] {
            [value] => Ok(value),
            _ => Err(Mistake::LeftOver(stack)),
        }
    }

    fn operator_of(sign: char) -> Option<Operator> {
        SIGNS
            .iter()
            .find(|known| known.1 == sign)
            .map(|known| known.0)
    }

    fn sign_of(operator: Operator) -> char {
        SIGNS[operator as usize].1
    }

    fn summarize(items: Vec<(String, f64)>) -> Summary {
        Summary {
            count: items.len() as u32,
            total: total(&items),
            largest: items.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }

    fn format(amount: f64, style: Style) -> String {
        let decimals = if style.contains(Style::ROUNDED) { 0 } else { 2 };
        let digits = format!("{:.decimals$}", amount.abs());
        let sign = match amount {
            _ if amount < 0.0 => "-",
            _ if style.contains(Style::SIGNED) => "+",
            _ => "",
        };
        match style.contains(Style::GROUPED) {
            true => format!("{sign}{}", group(&digits)),
            false => format!("{sign}{digits}"),
        }
    }

    fn print_items(items: Vec<(String, f64)>, tape: &Tape) -> f64 {
        for (name, price) in &items {
            tape.print(&format!("{name} {price:.2}"));
        }
        total(&items)
    }

    fn print_receipt(items: Vec<(String, f64)>, before: Option<Tape>) -> Tape {
        let tape = Tape::new("receipt");
        let total = Self::print_items(items, &tape);
        tape.print(&format!("total {total:.2}"));
        match before {
            Some(before) => Tape::splice(&before, &tape),
            None => tape,
        }
    }

    fn mirror(specimen: Specimen) -> Specimen {
        specimen
    }
}

/// In the order of `Operator`.
const SIGNS: [(Operator, char); 4] = [
    (Operator::Add, '+'),
    (Operator::Subtract, '−'),
    (Operator::Multiply, '×'),
    (Operator::Divide, '÷'),
];

fn apply(operator: Operator, left: f64, right: f64) -> Result<f64, Mistake> {
    match operator {
        Operator::Add => Ok(left + right),
        Operator::Subtract => Ok(left - right),
        Operator::Multiply => Ok(left * right),
        Operator::Divide if right == 0.0 => Err(Mistake::DivisionByZero),
        Operator::Divide => Ok(left / right),
    }
}

fn total(items: &[(String, f64)]) -> f64 {
    items.iter().fold(0.0, |total, (_, price)| total + price)
}

/// `1234567.89` as `1,234,567.89`.
fn group(digits: &str) -> String {
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut grouped = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && place < whole && (whole - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
