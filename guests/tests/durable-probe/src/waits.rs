//! What begins, waits and completes.

use std::time::{Duration, UNIX_EPOCH};

use guesthouse_guest::durable::{
    self, Bytes, Error, Failure, Pending, Promise, RetryPolicy, awakeable, call, call_all,
    first_to_end, first_to_succeed, gather, run_with, sleep, sleep_until,
};
use serde_json::{Value, json};

use crate::script::{Call, First, Gather, Op, Race, Run, Select, StepEnd, Then, Wait};
use crate::{End, Probe, readable, told};

fn limit(milliseconds: Option<u64>) -> Option<Duration> {
    milliseconds.map(Duration::from_millis)
}

fn nothing(result: Result<(), Failure>) -> Value {
    told(result.map(|()| Value::Null))
}

impl Probe {
    /// What is not control.
    pub fn wait_or_do(&mut self, operation: Op) -> Value {
        match operation {
            Op::Call(order) => match self.request(&order).start() {
                Ok(promise) => self.keep(promise),
                Err(failure) => told(Err(failure)),
            },
            Op::Calls(orders) => self.calls(&orders),
            Op::Send(order) => told(self.request(&order).send().map(|id| {
                self.sent = id;
                Value::Null
            })),
            Op::Sleep(milliseconds) => self.keep(sleep(Duration::from_millis(milliseconds)).of()),
            Op::SleepUntil(milliseconds) => {
                self.keep(sleep_until(UNIX_EPOCH + Duration::from_millis(milliseconds)).of())
            }
            Op::Awakeable => self.keep(awakeable().promise),
            Op::Wait(wait) => self.wait(&wait),
            Op::Gather(group) => self.gather(group),
            Op::Select(group) => self.select(&group),
            Op::Race(group) => self.win(group, durable::race),
            Op::Any(group) => self.win(group, durable::any),
            Op::Within(wait) => {
                let timeout = limit(wait.timeout_ms).unwrap_or_default();
                told(self.promise(wait.of).ended_within(timeout).map(Value::from))
            }
            Op::CallWithin(milliseconds, order) => {
                let timeout = Duration::from_millis(milliseconds);
                let end = self.request(&order).timeout(timeout);
                told(end.map(|Bytes(payload)| readable(payload)))
            }
            Op::Resolve(it) => nothing(durable::resolve(
                &self.text(&it.id),
                &self.filled(it.payload),
            )),
            Op::Reject(it) => nothing(durable::reject(&self.text(&it.id), &it.reason)),
            Op::Cancel(id) => nothing(durable::cancel(&self.text(&id))),
            Op::Kill(id) => nothing(durable::kill(&self.text(&id))),
            Op::Id(number) => self.promise(number).id().into(),
            operation => self.does(operation),
        }
    }

    /// A step that ends as its list says.
    pub fn run(&mut self, run: Run) -> Value {
        let mut policy = RetryPolicy::new().attempts(run.attempts);
        if let Some(wait) = run.min_wait_ms {
            policy = policy.min_wait(Duration::from_millis(wait));
        }
        if let Some(wait) = run.max_wait_ms {
            policy = policy.max_wait(Duration::from_millis(wait));
        }
        told(run_with(&run.name, policy, |attempt| {
            let trace = self.all(run.operations.clone()).map_err(|end| match end {
                End::Fail(fail) => Error::from(fail),
                End::Answer(_) => Error::terminal("a step does not answer"),
            })?;
            let index = (attempt as usize).min(run.ends.len()).saturating_sub(1);
            match run.ends.get(index) {
                None | Some(StepEnd::Ok) => Ok(trace),
                Some(StepEnd::Temporary(why)) => Err(Error::temporary(why)),
                Some(StepEnd::Throttled(wait)) => {
                    Err(Error::throttled("too much").retry_after(Duration::from_millis(*wait)))
                }
                Some(StepEnd::Terminal(why)) => Err(Error::terminal(why)),
                Some(StepEnd::Trap) => panic!("asked to"),
            }
        }))
    }

    fn request(&self, order: &Call) -> durable::Call<Bytes> {
        let payload = self.filled(order.payload.clone());
        let mut request =
            call(&order.function, &payload).delay(Duration::from_millis(order.delay_ms));
        if let Some(key) = &order.key {
            request = request.key(key);
        }
        if let Some(key) = &order.idempotency_key {
            request = request.idempotency_key(key);
        }
        for (name, value) in &order.headers {
            request = request.header(name, value);
        }
        request
    }

    fn calls(&mut self, orders: &[Call]) -> Value {
        let this = &*self;
        let each = orders
            .iter()
            .flat_map(|order| (0..order.times).map(move |_| order));
        let begun = call_all(each.map(|order| this.request(order)));
        match begun {
            Ok(promises) => {
                let place = json!({ "promises": [self.promises.len(), promises.len()] });
                self.promises.extend(promises.into_iter().map(Some));
                place
            }
            Err(failure) => told(Err(failure)),
        }
    }

    fn keep(&mut self, promise: Promise<Bytes>) -> Value {
        self.promises.push(Some(promise));
        json!({ "promise": self.promises.len() - 1 })
    }

    pub fn promise(&self, number: usize) -> &Promise<Bytes> {
        let promise = self.promises.get(number).and_then(Option::as_ref);
        promise.expect("the promise is there")
    }

    fn take(&mut self, number: usize) -> Promise<Bytes> {
        let promise = self.promises.get_mut(number).and_then(Option::take);
        promise.expect("the promise is there")
    }

    fn wait(&mut self, wait: &Wait) -> Value {
        let promise = self.take(wait.of);
        let end = match limit(wait.timeout_ms) {
            Some(timeout) => promise.wait_timeout(timeout),
            None => promise.wait(),
        };
        told(end.map(|Bytes(payload)| readable(payload)))
    }

    fn gather(&mut self, group: Gather) -> Value {
        let left = |numbers: &Self| {
            (0..numbers.promises.len())
                .filter(|n| numbers.promises[*n].is_some())
                .collect()
        };
        let numbers: Vec<usize> = group.of.unwrap_or_else(|| left(self));
        let mut all = gather(numbers.into_iter().map(|number| self.take(number)));
        all = match group.then {
            Then::CancelRest => all.cancel_rest(),
            Then::LeaveRest => all.leave_rest(),
            Then::WaitForAll => all.wait_for_all(),
        };
        if let Some(timeout) = limit(group.timeout_ms) {
            all = all.timeout(timeout);
        }
        let read = |end: Result<Bytes, Failure>| told(end.map(|Bytes(payload)| readable(payload)));
        all.each()
            .into_iter()
            .map(|end| end.map_or(Value::Null, read))
            .collect()
    }

    fn select(&self, group: &Select) -> Value {
        let promises = group
            .of
            .iter()
            .map(|number| self.promise(*number) as &dyn Pending);
        let promises: Vec<&dyn Pending> = promises.collect();
        let first = match group.first {
            First::ToEnd => first_to_end,
            First::ToSucceed => first_to_succeed,
        };
        told(first(&promises, limit(group.timeout_ms)).map(Value::from))
    }

    /// The others stay; where nobody wins all are gone.
    fn win(
        &mut self,
        group: Race,
        first: impl Fn(Vec<Promise<Bytes>>) -> durable::Race<Bytes>,
    ) -> Value {
        let mut race = first(group.of.iter().map(|number| self.take(*number)).collect());
        if group.cancel {
            race = race.cancel_rest();
        }
        if let Some(timeout) = limit(group.timeout_ms) {
            race = race.timeout(timeout);
        }
        told(race.wait().map(|winner| {
            let numbers = group.of.iter().enumerate();
            let left = numbers.filter(|(place, _)| *place != winner.index);
            for ((_, number), promise) in left.zip(winner.rest) {
                self.promises[*number] = Some(promise);
            }
            json!([winner.index, readable(winner.value.0)])
        }))
    }
}
