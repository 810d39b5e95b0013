# resque-retry: again at once, again after a pause that grows, and never again.
class Retries < Part
  title "retries: at once, with backoff, in vain"

  JOBS = 5

  def exercise
    schedulers = [scheduler("scheduler")]
    workers = [worker("first", queues: "retried"), worker("second", queues: "retried", fork_per_job: false)]
    registered(*workers)
    ids = (0...JOBS).to_a
    {RetriedAtOnce => "at_once", RetriedWithBackoff => "backoff", RetriedInVain => "in_vain"}.each do |job, part|
      ids.each { |id| Resque.enqueue(job, part, id) }
    end
    wait_between_attempts
    await_processed(JOBS * (4 + 3 + 3))
    count(ids)
    retire(*workers, *schedulers)
  end

  private

  def wait_between_attempts
    key = RetriedWithBackoff.redis_retry_key("backoff", 0)
    between("time to live of a retry counter, in seconds", eventually("a retry counter") { (ttl = Resque.redis.ttl(key)).positive? && ttl }, 1..502)
    detail = eventually("the failure that a retry waits with") { Resque.redis.get("failure-#{key}") }
    equal("the failure that a retry waits with", Resque.decode(detail).slice("exception", "error"),
          {"exception" => "Broken::Fault", "error" => "attempt of 0"})
  end

  def count(ids)
    finished_exactly("at_once", ids)
    finished_exactly("backoff", ids)
    finished_exactly("in_vain", [])
    equal("attempts: 1+3, 1+2 and 1+2 for each job", %w[at_once backoff in_vain].map { |part| ids.map { |id| Ledger.attempts(part, id) }.uniq }, [[4], [3], [3]])
    equal("attempts that came before their pause was over", [early("backoff", [1, 2]), early("in_vain", [1, 1])], [[], []])
    equal("jobs that failed in the end", Resque::Failure.all(0, 100).map { |failure| failure["payload"]["args"] }.sort, ids.map { |id| ["in_vain", id] })
    equal("retry counters left", Resque.keys.grep(/\Aresque-retry/), [])
    equal("failed by Resque's count, which includes each attempt", Resque::Stat[:failed], JOBS * (3 + 2 + 3))
  end

  # The scheduler knows whole seconds only, so a pause counts from the second in which the attempt failed.
  def early(part, pauses)
    Ledger.entries("attempt", part).group_by(&:id).select do |_, attempts|
      attempts.map { |entry| entry.at.to_f }.each_cons(2).zip(pauses).any? { |(failed, again), pause| again < failed.floor + pause }
    end.keys
  end
end
