# What operators tell workers by signals: pause, go on, drop this job, end after it, end now.
class Signals < Part
  title "signals: pause, continue, QUIT, TERM, USR1"

  def exercise
    pause
    pause_all
    quit
    term
    usr1
  end

  private

  def pause
    sleeper, witness = worker("sleeper", queues: "paused"), worker("witness", queues: "witness")
    registered(sleeper, witness)
    sleeper.signal("USR2")
    eventually("the worker says that it is paused") { process_title(sleeper).include?("Paused") }
    10.times { |id| Resque.enqueue_to("paused", Count, "paused", id) && Resque.enqueue_to("witness", Count, "witness", id) }
    await_processed(10)
    equal("jobs of a worker paused by USR2, and of another", [Ledger.finished("paused").size, Resque.size("paused"), Ledger.finished("witness").size], [0, 10, 10])
    sleeper.signal("CONT")
    await_processed(20)
    finished_exactly("paused", (0...10).to_a)
    @pair = [sleeper, witness]
  end

  def pause_all
    Resque.redis.set("pause-all-workers", "true")
    @pair.each { |process| eventually("#{process.name} is paused") { process_title(process).include?("Paused") } }
    5.times { |id| Resque.enqueue_to("paused", Count, "all", id) && Resque.enqueue_to("witness", Count, "all", 5 + id) }
    equal("jobs while pause-all-workers is set", [Ledger.finished("all").size, Resque.info[:pending]], [0, 10])
    Resque.redis.del("pause-all-workers")
    await_processed(30)
    finished_exactly("all", (0...10).to_a)
    retire(*@pair)
  end

  def quit
    process = worker("quit", queues: "quit")
    registered(process)
    2.times { |id| Resque.enqueue_to("quit", Held, "quit", id) }
    await_started("quit", 0)
    process.signal("QUIT")
    equal("Resque.working while the last job runs", Resque.working.map { |known| known.job["payload"]["args"] }, [["quit", 0]])
    Gate.open("quit")
    equal("exit status at QUIT, once the job is done", process.wait, 0)
    finished_exactly("quit", [0])
    equal("left: jobs, failures, workers", [Resque.size("quit"), Resque::Failure.count, Resque.workers.size], [1, 0, 0])
    Resque.remove_queue("quit")
  end

  # A job that knows of its end puts itself back, one that does not becomes a failure, one that refuses is killed.
  def term
    processes = {Returning => "returning", Held => "surprised", Stubborn => "stubborn"}.map do |job, name|
      Resque.enqueue_to(name, job, name, 1)
      worker(name, queues: name, RESQUE_TERM_TIMEOUT: job == Stubborn ? "0.5" : "10")
    end
    %w[returning surprised stubborn].each { |name| await_started(name, 1) }
    equal("exit status at TERM", processes.map { |process| process.stop("TERM") }, [0, 0, 0])
    equal("the job that puts itself back", Resque.peek("returning_returned"), {"class" => "Returning", "args" => ["returning", 1]})
    failures = Resque::Failure.all(0, 10).to_h { |failure| [failure["queue"], failure["exception"]] }
    equal("failures", failures, {"surprised" => "Resque::TermException", "stubborn" => "Resque::DirtyExit"})
    equal("workers left", Resque.workers.size, 0)
    run_again
  end

  def run_again
    %w[returning surprised].each { |name| Gate.open(name) }
    Resque::Failure.requeue_queue("surprised")
    process = worker("again", queues: "returning_returned,surprised")
    registered(process)
    await_finished("returning", 1)
    await_finished("surprised", 1)
    finished_exactly("returning", [1])
    finished_exactly("surprised", [1])
    retire(process)
    Resque::Failure.clear
  end

  def usr1
    Resque.enqueue_to("dropped", Held, "dropped", 1)
    Resque.enqueue_to("dropped", Count, "after", 1)
    process = worker("usr1", queues: "dropped")
    await_started("dropped", 1)
    process.signal("USR1")
    await_finished("after", 1)
    finished_exactly("after", [1])
    equal("the job dropped by USR1", Resque::Failure.all(0, 10).map { |failure| [failure["payload"]["args"], failure["exception"]] },
          [[["dropped", 1], "Resque::TermException"]])
    retire(process)
  end
end
