# Workers that are told to be quiet, told to stop under a job, or killed.

class SidekiqTest
  AFTER_CRASH = 20
  UNDER_FIRE = 2000
  FINISHED_BEFORE_KILL_MIN = 200
  CRASH_THREADS = 5
  # How long a server may take to see that the sockets of a process that has died are closed. Jobs that arrive before
  # it has could go to the dead by right.
  SETTLE_SECONDS = 0.3
  STEPS = 40
  # Thirty days, for which Sidekiq keeps the state of an interrupted iteration.
  STATE_SECONDS = 30 * 86_400

  def interrupt
    figures.part("interrupt: TSTP, TERM under long jobs, requeue, another worker finishes them") do
      # A job that is interrupted counts as processed and as failed, and once more as processed when it finishes.
      sidekiq_counts(processed: 2 + 3, failed: 2) do
        long = Array.new(2) { LongJob.set(queue: "slow").perform_async("long") }
        first = start_worker("interrupted", "-c", "3", "-t", "2", "-q", "slow")
        figures.reaches("long jobs begun", long.to_h { |jid| [jid, 1] }.sort) { attempts("long").sort }
        figures.reaches("WorkSet shows them", long.sort) { working_jids }
        figures.agree("WorkSet#size and Stats.workers_size") { [[Sidekiq::WorkSet.new.size, Sidekiq::Stats.new.workers_size], [2 + busy_of_killed] * 2] }
        figures.equal("WorkSet#find_work_by_jid", Sidekiq::WorkSet.new.find_work_by_jid(long[0])&.queue, "slow") if sidekiq_seven?
        figures.equal("the worker is not stopping", process_of(first).stopping?, false)
        first.signal("TSTP")
        figures.reaches("after TSTP it is", true) { process_of(first)&.stopping? }
        after = CountJob.set(queue: "slow").perform_async("long")
        stop_workers(first)
        figures.equal("jobs in the queue after TERM", Sidekiq::Queue.new("slow").size, 3)
        figures.holds("the interrupted are next in line", queued_jids("slow").last(2).sort == long.sort)
        figures.equal("finished so far", runs("long"), 0)
        tell("long", "released")
        second = start_worker("successor", "-c", "3", "-q", "slow")
        finished_once("long", long + [after])
        figures.equal("how often the long ones were begun", attempts("long").values, [2, 2])
        stop_workers(second)
      end
    end
  end

  def crash
    figures.part("crash: kill -9 under a long job, with threads blocked in BRPOP, and under full load") do
      kill_while_blocked
      kill_under_fire
    end
  end

  def iterate
    figures.part("iterate: iterable jobs stopped in the middle go on at their cursor; cancel") do
      # An interruption counts as processed and as failed.
      sidekiq_counts(processed: 2 + 3, failed: 2) do
        whole, cancelled = %w[iterate iterate_cancelled].map { |part| StepJob.set(queue: "steps").perform_async(part, STEPS) }
        first = start_worker("iterating", "-c", "2", "-q", "steps")
        eventually("some steps of both are done") { [steps("iterate"), steps("iterate_cancelled")].map(&:size).min >= 5 }
        stop_workers(first)
        figures.equal("the interrupted jobs are back in their queue", queued_jids("steps").sort, [whole, cancelled].sort)
        check_cursor(whole, "iterate")
        check_cursor(cancelled, "iterate_cancelled")
        done = steps("iterate_cancelled")
        Sidekiq::Client.new.cancel!(cancelled)
        second = start_worker("resuming", "-c", "2", "-q", "steps")
        check_resumed(whole, cancelled, done)
        finished_once("iterate", [CountJob.set(queue: "steps").perform_async("iterate")], what: "other jobs of the queue finished")
        stop_workers(second)
      end
    end
  end

  private

  # The long job dies with its worker, as Sidekiq documents of its basic fetch. Nothing else may be lost: not the jobs
  # that arrive while the server might still think of the dead threads as waiting.
  def kill_while_blocked
    lost = LongJob.set(queue: "crash").perform_async("crash")
    victim = start_worker("victim", "-c", CRASH_THREADS.to_s, "-q", "crash")
    figures.reaches("long job begun", {lost => 1}) { attempts("crash") }
    kill_worker(victim)
    figures.equal("Stats.processes_size, which still counts it", Sidekiq::Stats.new.processes_size, 1)
    sleep SETTLE_SECONDS
    jids = Array.new(AFTER_CRASH) { CountJob.set(queue: "crash").perform_async("crash") }
    figures.equal("jobs waiting after the kill", Sidekiq::Queue.new("crash").size, AFTER_CRASH)
    successor = start_worker("after-crash", "-c", "5", "-q", "crash")
    finished_once("crash", jids)
    figures.equal("the job in progress was lost, not run again", attempts("crash"), {lost => 1})
    stop_workers(successor)
  end

  # Killed in the middle of its work, a worker takes at most the jobs its threads hold.
  def kill_under_fire
    jids = Sidekiq::Client.push_bulk("class" => CountJob, "queue" => "fire", "args" => Array.new(UNDER_FIRE) { ["fire"] })
    victim = start_worker("under-fire", "-c", CRASH_THREADS.to_s, "-q", "fire")
    eventually("it has done some") { runs("fire") >= FINISHED_BEFORE_KILL_MIN }
    kill_worker(victim)
    sleep SETTLE_SECONDS
    left = Sidekiq::Queue.new("fire").map(&:jid)
    done = wire.call("SMEMBERS", "tally:fire:jids")
    figures.holds("killed in the middle: #{done.size} done, #{left.size} left", !left.empty? && (left & done).empty?)
    figures.between("jobs that it took with it", UNDER_FIRE - done.size - left.size, 0..CRASH_THREADS)
    successor = start_worker("after-fire", "-c", "5", "-q", "fire")
    finished_once("fire", done + left)
    figures.holds("none that was not pushed", (done + left - jids).empty?)
    stop_workers(successor)
  end

  def steps(part)
    wire.call("LRANGE", "tally:#{part}:steps", 0, -1)
  end

  def events(part)
    %w[starts resumes completes].map { |event| wire.call("GET", "tally:#{part}:#{event}").to_i }
  end

  def check_cursor(jid, part)
    done = steps(part).size
    figures.between("#{part}: steps before the interruption", done, 5..(STEPS - 1))
    state = wire.hash("it-#{jid}")
    figures.equal("#{part}: cursor and executions", [state["c"], state["ex"]], [done.to_s, "1"])
    figures.between("#{part}: its state expires, in seconds", wire.call("TTL", "it-#{jid}"), (STATE_SECONDS - 60)..STATE_SECONDS)
  end

  def check_resumed(whole, cancelled, done_before_cancel)
    figures.reaches("iterate: all steps, in order, each once", Array.new(STEPS) { |step| "#{whole}:#{step}" }) { steps("iterate") }
    figures.reaches("iterate: starts, resumes, completes", [1, 1, 1]) { events("iterate") }
    figures.reaches("iterate_cancelled: starts, resumes, completes", [1, 1, 1]) { events("iterate_cancelled") }
    figures.holds("iterate_cancelled: no step after the cancelling", steps("iterate_cancelled") == done_before_cancel)
    figures.reaches("their state is gone when done", [0, 0]) { [whole, cancelled].map { |jid| wire.call("EXISTS", "it-#{jid}") } }
  end
end
