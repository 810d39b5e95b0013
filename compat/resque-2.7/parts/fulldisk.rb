# The same while the disk is nearly full: the rules are made, jobs taken, run, tried again and put back from the reserve.
class Fulldisk < Handback
  title "fulldisk: the same while the disk is nearly full and new jobs are refused"

  private

  def part = "fulldisk"

  def under_way
    rules.with_full_disk do
      refused
      yield
    end
  end

  def refused
    before = [*sizes, Resque.info[:pending]]
    {"Resque.enqueue" => -> { push_order("ExportJob", order(part, @main)) }, "enqueue_in" => -> { push_order("ExportJob", order(part, @main), after: 100) },
     "RPUSH" => -> { Resque.redis.rpush("queue:#{@main}", Resque.encode(class: "ExportJob", args: [order(part, @main)])) }}.each do |what, attempt|
      equal("disk nearly full: #{what} of a new job is answered", answer_to(&attempt), "-OOM")
    end
    equal("in the queues, delayed and pending as before", [*sizes, Resque.info[:pending]], before)
  end

  def answer_to
    yield
    "taken"
  rescue Redis::CommandError => error
    error.message.start_with?("OOM ") ? "-OOM" : error.message
  end
end
