# The order of queues is the order of the work, and each queue is first in, first out.
class Order < Part
  title "order: queues by priority, jobs by age"

  JOBS = 20

  def exercise
    %w[zeta low held_back high alpha].each { |queue| JOBS.times { |id| Resque.enqueue_to(queue, Count, "order", "#{queue}-#{id}") } }
    single = worker("single", queues: "high,low,*,!held_*", fork_per_job: false)
    registered(single)
    await_processed(4 * JOBS)
    retire(single)
    wanted = %w[high low alpha zeta].flat_map { |queue| Array.new(JOBS) { |id| "#{queue}-#{id}" } }
    equal("jobs in the order of QUEUES=high,low,*,!held_*", Ledger.finished("order").map(&:id) == wanted, true)
    finished_exactly("order", wanted)
    equal("what the worker was told to leave", Resque.queue_sizes.reject { |_, size| size.zero? }, {"held_back" => JOBS})
    a_queue_that_comes_later
  end

  private

  def a_queue_that_comes_later
    single = worker("wildcard", queues: "*", fork_per_job: false)
    registered(single)
    await_finished("order", 5 * JOBS)
    JOBS.times { |id| Resque.enqueue_to("new", Count, "order_new", id) }
    await_finished("order_new", JOBS)
    finished_exactly("order_new", (0...JOBS).to_a)
    retire(single)
  end
end
