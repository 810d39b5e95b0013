# Many jobs from many sides at once, and the order in which queues are served.

class SidekiqTest
  BULK_QUEUES = %w[bulk_a bulk_b bulk_c].freeze
  PUSHED_AT_ONCE = 1000
  ORDERED = 50
  WEIGHED = 200

  def bulk
    jobs = target.jobs
    figures.part("bulk: #{jobs} jobs by perform_async, push_bulk, perform_bulk, another process, a plain socket") do
      sidekiq_counts(processed: jobs) do
        jids = push_in_four_ways(jobs / 2)
        figures.equal("jobs waiting before a worker starts", Sidekiq::Stats.new.enqueued, jobs / 2)
        queues = BULK_QUEUES.each_with_index.flat_map { |name, index| ["-q", "#{name},#{index + 1}"] }
        workers = Array.new(2) { |index| start_worker("bulk-#{index}", "-c", "10", *queues) }
        jids += push_in_four_ways(jobs - jobs / 2)
        finished_once("bulk", jids)
        figures.equal("jobs left in the queues", BULK_QUEUES.sum { |name| Sidekiq::Queue.new(name).size }, 0)
        check_metrics("BulkJob", processed: jobs, failed: 0) if sidekiq_seven?
        stop_workers(*workers)
      end
      figures.equal("processes after they have stopped", living_processes.size, 0)
    end
  end

  def payload
    figures.part("payload: other scripts, nesting, empty values, one of a megabyte") do
      payloads = ["Grüße, мир, 世界 🦆", "a\u0000b\r\n\"\\", ["", nil, true, -1, 1.5, 2**62], {"a" => {"b" => [{}]}}, "x" * 1_000_000]
      sidekiq_counts(processed: payloads.size) do
        jids = payloads.each_with_index.map { |value, index| EchoJob.set(queue: "payload").perform_async("payload", index, value) }
        figures.equal("the megabyte as it lies in the queue", Sidekiq::Queue.new("payload").first.args.last.size, 1_000_000)
        worker = start_worker("payload", "-c", "2", "-q", "payload")
        finished_once("payload", jids)
        arrived = wire.hash("tally:payload:digests")
        figures.equal("arrived unchanged", payloads.each_with_index.count { |value, index| arrived[index.to_s] == EchoJob.digest(value) }, payloads.size)
        stop_workers(worker)
      end
    end
  end

  def order
    figures.part("order: strict queues, weighted queues, first in first out") do
      sidekiq_counts(processed: 2 * ORDERED + 2 * WEIGHED) do
        strict = push_words("strict", "low" => ORDERED) + push_words("strict", "high" => ORDERED)
        weighted = push_words("weighted", "heavy" => WEIGHED, "light" => WEIGHED)
        workers = [start_worker("strict", "-c", "1", "-q", "high", "-q", "low"), start_worker("weighted", "-c", "1", "-q", "heavy,3", "-q", "light,1")]
        finished_once("strict", strict)
        finished_once("weighted", weighted)
        check_order
        stop_workers(*workers)
      end
    end
  end

  private

  def push_in_four_ways(count)
    rare = count / 50
    other = children.start("pusher", [RbConfig.ruby, File.join(__dir__, "push_elsewhere.rb"), @app, "BulkJob", "bulk", BULK_QUEUES[0], rare.to_s])
    singles = Array.new(count / 10) { |index| BulkJob.set(queue: BULK_QUEUES[index % BULK_QUEUES.size]).perform_async("bulk") }
    rest = count - 2 * rare - singles.size
    jids = singles + push_bulk(rest / 2) + BulkJob.set(queue: BULK_QUEUES[2]).perform_bulk(Array.new(rest - rest / 2) { ["bulk"] }) + push_raw(rare)
    figures.equal("exit code of the other process", other.wait, 0)
    jids + other.log_text.scan(/^\h{24}$/)
  end

  def push_bulk(count)
    Array.new(count) { ["bulk"] }.each_slice(PUSHED_AT_ONCE).flat_map do |arguments|
      Sidekiq::Client.push_bulk("class" => BulkJob, "queue" => BULK_QUEUES[1], "args" => arguments)
    end
  end

  # Pushes as a program in any other language would: the queue's name to the set, the job to the list.
  def push_raw(count)
    jobs = Array.new(count) { raw_job("BulkJob", BULK_QUEUES[0], "bulk", enqueued_at: Time.now.to_f) }
    wire.call("SADD", "queues", BULK_QUEUES[0])
    jobs.each { |job| wire.call("LPUSH", "queue:#{BULK_QUEUES[0]}", JSON.generate(job)) }
    jobs.map { |job| job["jid"] }
  end

  def push_words(part, counts)
    counts.flat_map { |queue, count| Array.new(count) { |index| OrderJob.set(queue: queue).perform_async(part, "#{queue} #{index}") } }
  end

  def check_order
    in_turn = ->(queue, count) { Array.new(count) { |index| "#{queue} #{index}" } }
    strict = wire.call("LRANGE", "tally:strict:order", 0, -1)
    figures.holds("strict: all of high before all of low, oldest first", strict == in_turn.call("high", ORDERED) + in_turn.call("low", ORDERED))
    weighted = wire.call("LRANGE", "tally:weighted:order", 0, -1)
    of_each = weighted.partition { |word| word.start_with?("heavy") }
    figures.holds("weighted: each queue oldest first", of_each == [in_turn.call("heavy", WEIGHED), in_turn.call("light", WEIGHED)])
    # 75 on average; that it falls outside has a chance of less than one in a hundred thousand.
    figures.between("weighted 3 to 1: heavy ones among the first 100", weighted.first(100).grep(/heavy/).size, 55..95)
  end
end
