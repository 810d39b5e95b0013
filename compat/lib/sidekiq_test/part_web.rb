class SidekiqTest
  def web
  end
end
