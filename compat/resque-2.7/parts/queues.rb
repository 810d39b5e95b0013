# What applications and consoles ask of queues, with no worker running.
class Queues < Part
  title "queues: push, peek, sizes, dequeue, remove"

  def exercise
    fill_and_measure
    look_inside
    take_out
    remove
  end

  private

  def fill_and_measure
    250.times { |id| Resque.enqueue(Count, "queues", id) }
    3.times { Resque.enqueue(OtherCount, "queues", "same") }
    30.times { |id| Resque.push("pushed", class: "Count", args: ["queues", id]) }
    Resque.redis.multi { 20.times { |id| Resque.enqueue_to("in_multi", Count, "queues", id) } }
    Resque.redis.pipelined { 20.times { |id| Resque.enqueue_to("in_pipeline", Count, "queues", id) } }
    equal("Resque.enqueue that its hook refuses", Resque.enqueue(Refused, "queues", 1), nil)
    equal("Resque.queues", Resque.queues.sort, %w[counted in_multi in_pipeline pushed])
    equal("Resque.queue_sizes", Resque.queue_sizes, {"counted" => 253, "pushed" => 30, "in_multi" => 20, "in_pipeline" => 20})
    equal("Resque.size of a queue that is not there", Resque.size("nowhere"), 0)
    equal("Resque.info", Resque.info.slice(:pending, :processed, :queues, :workers, :working, :failed),
          {pending: 323, processed: 0, queues: 4, workers: 0, working: 0, failed: 0})
  end

  def look_inside
    equal("Resque.peek of the first", Resque.peek("counted"), {"class" => "Count", "args" => ["queues", 0]})
    equal("Resque.peek in the middle, 20 of them", ids(Resque.peek("counted", 100, 20)), (100..119).to_a)
    equal("Resque.peek over the end", ids(Resque.peek("counted", 248, 20)), [248, 249, "same", "same", "same"])
    equal("Resque.peek beyond the end", [Resque.peek("counted", 900, 20), Resque.peek("counted", 900)], [[], nil])
    equal("Resque.peek from the end", Resque.peek("in_multi", -1)["args"].last, 19)
    samples = Resque.sample_queues(5)
    equal("Resque.sample_queues", samples.transform_values { |sample| [sample[:size], ids(sample[:samples])] }["pushed"], [30, [0, 1, 2, 3, 4]])
    equal("order inside MULTI and inside a pipeline", [ids(Resque.peek("in_multi", 0, 50)), ids(Resque.peek("in_pipeline", 0, 50))],
          [(0..19).to_a] * 2)
  end

  def take_out
    equal("Resque.dequeue with arguments, one job", Resque.dequeue(Count, "queues", 100), 1)
    equal("Resque.dequeue with arguments, three equal jobs", Resque.dequeue(OtherCount, "queues", "same"), 3)
    equal("Resque.dequeue of what is not there", Resque.dequeue(Count, "queues", 100), 0)
    equal("LINDEX and LRANGE across the hole", [Resque.peek("counted", 100)["args"].last, ids(Resque.peek("counted", 98, 4))], [101, [98, 99, 101, 102]])
    equal("Job.destroy of a class, among others", destroy_other_class, [10, 249])
    equal("Resque.pop takes the first", [Resque.pop("counted")["args"].last, Resque.size("counted")], [0, 248])
    equal("Resque.pop of a queue that is not there", Resque.pop("nowhere"), nil)
  end

  def destroy_other_class
    10.times { |id| Resque.enqueue(OtherCount, "queues", id) }
    [Resque::Job.destroy("counted", OtherCount), Resque.size("counted")]
  end

  def remove
    Resque.remove_queue("counted")
    equal("Resque.remove_queue: size, known, key", [Resque.size("counted"), Resque.queues.include?("counted"), Resque.redis.exists("queue:counted")],
          [0, false, 0])
    20.times { Resque.pop("in_multi") }
    equal("a queue that ran empty: size, known, key", [Resque.size("in_multi"), Resque.queues.include?("in_multi"), Resque.redis.exists("queue:in_multi")],
          [0, true, 0])
    equal("Resque.keys", Resque.keys.sort, %w[queue:in_pipeline queue:pushed queues])
  end

  def ids(jobs)
    jobs.map { |job| job["args"].last }
  end
end
